package vaultserver

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

const (
	// binaryVariable is the variable with the path of the server's binary.
	binaryVariable = "VAULT_TEST_BINARY"
	serverPackage  = "github.com/hashicorp/vault"
	readable       = 0o755
	hashLength     = 12 // bytes of the hash of a build
)

// Binary returns the path of the server's binary: VAULT_TEST_BINARY, if set. Otherwise it builds tools/vault into the user's cache
// directory, once for each state of that module and each version of Go. The first build takes minutes, possibly more than go test's timeout
// of 10 minutes; the next attempt continues it.
func Binary() (string, error) {
	if binary := os.Getenv(binaryVariable); binary != "" {
		if _, err := os.Stat(binary); err != nil {
			return "", fmt.Errorf("vaultserver: %s: %w", binaryVariable, err)
		}
		return binary, nil
	}
	module, version, err := goEnv()
	if err != nil {
		return "", err
	}
	module = filepath.Join(filepath.Dir(module), "tools", "vault")
	key, err := buildKey(module, version)
	if err != nil {
		return "", err
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("vaultserver: neither %s nor a cache directory: %w", binaryVariable, err)
	}
	dir = filepath.Join(dir, "secrets-vaultserver")
	if err := os.MkdirAll(dir, readable); err != nil {
		return "", fmt.Errorf("vaultserver: %w", err)
	}
	binary := filepath.Join(dir, "vault-"+key)
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	return binary, buildOnce(module, binary)
}

// goEnv returns the path of the tests' go.mod, and the Go version.
func goEnv() (module, version string, err error) {
	output, err := exec.Command("go", "env", "GOMOD", "GOVERSION").Output() //nolint:noctx // it takes milliseconds
	if err != nil {
		return "", "", fmt.Errorf("vaultserver: go env: %w", err)
	}
	module, version, _ = strings.Cut(strings.TrimSpace(string(output)), "\n")
	return strings.TrimSpace(module), version, nil
}

// buildKey returns a key that differs between builds.
func buildKey(module, version string) (string, error) {
	hash := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return "", fmt.Errorf("vaultserver: %w", err)
		}
		hash.Write(content)
	}
	hash.Write([]byte(version + runtime.GOOS + runtime.GOARCH))
	return hex.EncodeToString(hash.Sum(nil)[:hashLength]), nil
}

// buildOnce builds the binary unless it exists. If several test processes need it, one builds and the others wait.
func buildOnce(module, binary string) error {
	if exists(binary) {
		return nil
	}
	lock, err := os.OpenFile(binary+".lock", newFile, private)
	if err != nil {
		return fmt.Errorf("vaultserver: %w", err)
	}
	defer lock.Close()                  // releases the lock; nothing was written
	if err := flock(lock); err != nil { // The kernel releases it when its holder ends.
		return fmt.Errorf("vaultserver: %w", err)
	}
	if exists(binary) {
		return nil
	}
	fmt.Fprintf(os.Stderr, "vaultserver: building the Vault server from %s into %s: minutes the first time, later seconds\n", module, binary)

	// An interrupted build must not leave a file of that name.
	temporary := fmt.Sprintf("%s.%d.tmp", binary, os.Getpid())
	defer os.Remove(temporary) // renamed by then, or never created
	log := temporary + ".log"
	defer os.Remove(log)
	build, err := startProcess("go", []string{"-C", module, "build", "-ldflags=-s -w", "-o", temporary, serverPackage}, os.Environ(), log)
	if err != nil {
		return err
	}
	<-build.Done
	if build.Err != nil {
		output, err := os.ReadFile(log)
		return fmt.Errorf("vaultserver: building the server: %w\n%s", errors.Join(build.Err, err), bytes.TrimSpace(output))
	}
	if err := os.Rename(temporary, binary); err != nil {
		return fmt.Errorf("vaultserver: %w", err)
	}
	return nil
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
