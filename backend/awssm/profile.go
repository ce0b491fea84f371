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

// The variables and files that the SDK gets credentials from, in its order:
// https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html.

// profileFiles returns the files of the profile, and whether a variable names them.
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

// lookedAt lists where the SDK has looked for credentials, and what was in the way there.
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

// described names a file, and says why it cannot be read, if that is so.
func described(path string) string {
	if fault := unreadable(path); fault != "" {
		return fmt.Sprintf("%q (%s)", path, fault)
	}
	return fmt.Sprintf("%q", path)
}

// unreadable says why a file cannot be read, or "".
func unreadable(path string) string {
	info, err := os.Stat(path) //nolint:gosec // the environment names it, as for the SDK
	switch {
	case err != nil:
		return fileFault(err)
	case info.IsDir():
		return "is a directory"
	case !info.Mode().IsRegular(): // to open a pipe may wait, or take what is in it
		return ""
	}
	f, err := os.Open(path) //nolint:gosec // it is the user's own
	if err != nil {
		return fileFault(err)
	}
	_ = f.Close() //nolint:errcheck // nothing was read
	return ""
}

// fileFault says in own words why a file could not be used.
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

// hidden returns the fault of a file of the profile that cannot be read, which the SDK passes over in silence, or nil. The credentials of
// the container or the instance would be taken instead: another identity. A home directory of another user, as /root is in many
// containers, holds nothing of ours. See loadIniFiles in https://github.com/aws/aws-sdk-go-v2/blob/main/config/shared_config.go.
func hidden(provider aws.CredentialsProvider) error {
	if from := sourceOf(provider, true); from != fromInstance && from != fromContainer {
		return nil
	}
	paths, named := profileFiles()
	for i, path := range paths {
		_, err := os.Stat(path)
		if fault := unreadable(path); fault != "" && !errors.Is(err, fs.ErrNotExist) && (err == nil || named[i]) {
			return fmt.Errorf("the file %q %s; it would be passed over, and other credentials taken", path, fault)
		}
	}
	return nil
}

// configFault says what is wrong with the configuration, without what it may hold.
func configFault(err error) string {
	paths, _ := profileFiles()
	if profile, ok := errors.AsType[config.SharedConfigProfileNotExistError](err); ok {
		return fmt.Sprintf("there is no profile %q in %s and %s; see AWS_PROFILE", profile.Profile, described(paths[0]), described(paths[1]))
	}
	if file, ok := errors.AsType[config.SharedConfigLoadError](err); ok {
		return fmt.Sprintf("the file %q %s", file.Filename, cmp.Or(unreadable(file.Filename), "is not as it should be"))
	}
	return "one of its files or variables is not as it should be"
}
