package awssm

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// This file describes the variables and files from which the SDK gets credentials, in its order:
// https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html.

// profileFiles returns the files of the profile, and for each whether a variable names it.
func profileFiles() (paths [2]string, named [2]bool) {
	for i, f := range []struct{ variable, fallback string }{
		{"AWS_SHARED_CREDENTIALS_FILE", config.DefaultSharedCredentialsFilename()},
		{"AWS_CONFIG_FILE", config.DefaultSharedConfigFilename()},
	} {
		paths[i] = os.Getenv(f.variable)
		if named[i] = paths[i] != ""; !named[i] {
			paths[i] = f.fallback
		}
	}
	return paths, named
}

// lookedAt lists where the SDK has looked for credentials, and what is wrong there.
func lookedAt() string {
	keys := "AWS_ACCESS_KEY_ID"
	switch id, key := os.Getenv("AWS_ACCESS_KEY_ID") != "", os.Getenv("AWS_SECRET_ACCESS_KEY") != ""; {
	case id && !key:
		keys += " (set, but without AWS_SECRET_ACCESS_KEY)"
	case key && !id:
		keys = "AWS_SECRET_ACCESS_KEY (set, but without AWS_ACCESS_KEY_ID)"
	}
	profile := os.Getenv("AWS_PROFILE")
	if profile == "" {
		profile = "default"
	}
	paths, _ := profileFiles()
	instance := "and the metadata service of an instance"
	if strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true") {
		instance += " (off by AWS_EC2_METADATA_DISABLED)"
	}
	return fmt.Sprintf("%s, AWS_WEB_IDENTITY_TOKEN_FILE, the profile %q in %s and %s, AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, "+
		"AWS_CONTAINER_CREDENTIALS_FULL_URI, %s", keys, profile, described(paths[0]), described(paths[1]), instance)
}

// described returns path quoted, with the reason if it cannot be read.
func described(path string) string {
	if fault := unreadable(path); fault != "" {
		return fmt.Sprintf("%q (%s)", path, fault)
	}
	return fmt.Sprintf("%q", path)
}

// unreadable returns why a file cannot be read, or "".
func unreadable(path string) string {
	info, err := os.Stat(path) //nolint:gosec // the environment names it, as for the SDK
	switch {
	case err != nil:
		return fileFault(err)
	case info.IsDir():
		return "is a directory"
	case !info.Mode().IsRegular(): // opening a pipe may block, or consume its content
		return ""
	}
	f, err := os.Open(path) //nolint:gosec // the user's own file
	if err != nil {
		return fileFault(err)
	}
	_ = f.Close() //nolint:errcheck // nothing was read
	return ""
}

// fileFault returns why a file could not be used, without the text of err.
func fileFault(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read by this user"
	default:
		return "cannot be read"
	}
}

// hidden returns an error for a file of the profile that exists and cannot be read. The SDK silently skips it and uses the container or
// the instance: another identity. A default file in a home directory that cannot be searched, such as /root in many containers, is no
// error. See loadIniFiles in https://github.com/aws/aws-sdk-go-v2/blob/main/config/shared_config.go.
func hidden(provider aws.CredentialsProvider) error {
	if from := sourceOf(provider, true); from != fromInstance && from != fromContainer {
		return nil
	}
	paths, named := profileFiles()
	for i, path := range paths {
		_, err := os.Stat(path)
		if fault := unreadable(path); fault != "" && !errors.Is(err, fs.ErrNotExist) && (err == nil || named[i]) {
			return fmt.Errorf("the file %q %s; the SDK would skip it and use other credentials", path, fault)
		}
	}
	return nil
}

// configFault returns what is wrong with the configuration, without its content.
func configFault(err error) string {
	paths, _ := profileFiles()
	if profile, ok := errors.AsType[config.SharedConfigProfileNotExistError](err); ok {
		return fmt.Sprintf("there is no profile %q in %s and %s; see AWS_PROFILE", profile.Profile, described(paths[0]), described(paths[1]))
	}
	if file, ok := errors.AsType[config.SharedConfigLoadError](err); ok {
		return fmt.Sprintf("the file %q %s", file.Filename, cmp.Or(unreadable(file.Filename), "is not valid"))
	}
	return "one of its files or variables is not valid"
}
