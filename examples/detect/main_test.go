package main

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/detect"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// story runs the program in an empty directory with the variables vars. It looks at run/secrets there, for /run/secrets, which
// holds files.
func story(t *testing.T, vars, files map[string]string) (string, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	const dir = "run/secrets"
	for name, content := range files {
		err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
		if err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	err := run(t.Context(), &out, "database#password", detect.WithDirectory(dir), detect.WithLookup(func(name string) (string, bool) {
		value, set := vars[name]
		return value, set
	}))
	return out.String(), err
}

func TestOnALaptop(t *testing.T) {
	is := is.New(t)
	value := rand.Text()
	out, err := story(t, map[string]string{
		"SHOP_DATABASE_PASSWORD": value, "SECRET_MANAGER_PREFIX": "SHOP_", "VAULT_TOKEN": "hvs.example",
	}, nil)
	is.NoErr(err)
	is.Equal(out, `env: SECRET_MANAGER_PREFIX is set (SHOP_)

found, in the order in which it counts:
  used      SECRET_MANAGER_PREFIX=SHOP_  env    decides
  not used  VAULT_TOKEN                  vault  no effect without VAULT_ADDR

not chosen:
  file   SECRET_MANAGER_PATH is not set, and run/secrets does not exist
  vault  neither VAULT_ADDR nor VAULT_AGENT_ADDR is set
  aws    none of AWS_SECRET_PREFIX, AWS_REGION and AWS_DEFAULT_REGION is set

database#password is [REDACTED], from env
`)
	secretstest.AssertNoLeak(t, value, out)
}

func TestInAContainer(t *testing.T) {
	is := is.New(t)
	value := rand.Text()
	out, err := story(t, map[string]string{"AWS_REGION": "eu-west-1"}, map[string]string{"database": `{"password":"` + value + `"}`})
	is.NoErr(err)
	is.Equal(out, `file: run/secrets holds a file

found, in the order in which it counts:
  used      run/secrets           file  decides
  not used  AWS_REGION=eu-west-1  aws   run/secrets comes first

not chosen:
  env    SECRET_MANAGER_PREFIX is not set, and run/secrets comes before the default
  vault  neither VAULT_ADDR nor VAULT_AGENT_ADDR is set
  aws    run/secrets comes before AWS_REGION

database#password is [REDACTED], from file
`)
	secretstest.AssertNoLeak(t, value, out)
}

func TestOnLambda(t *testing.T) {
	is := is.New(t)
	value := rand.Text()
	server := awstest.NewServer(t)
	server.Setenv(t) // for the SDK
	server.Put("prod/shop/database", `{"password":"`+value+`"}`)
	out, err := story(t, map[string]string{
		"AWS_REGION": server.Region(), "AWS_ACCESS_KEY_ID": "ASIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example", "AWS_SECRET_PREFIX": "prod/shop/",
	}, nil)
	is.NoErr(err)
	is.Equal(out, `aws: AWS_SECRET_PREFIX is set (prod/shop/)

found, in the order in which it counts:
  used  AWS_SECRET_PREFIX=prod/shop/                 aws  decides
  used  AWS_REGION=us-east-1                         aws  agrees
  used  AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY  aws  agrees

not chosen:
  env    SECRET_MANAGER_PREFIX is not set, and AWS_SECRET_PREFIX comes before the default
  file   SECRET_MANAGER_PATH is not set, and run/secrets does not exist
  vault  neither VAULT_ADDR nor VAULT_AGENT_ADDR is set

database#password is [REDACTED], from aws
`)
	secretstest.AssertNoLeak(t, value, out)
}

// Half a configuration is told, and nothing else is read in its place.
func TestWithoutAToken(t *testing.T) {
	is := is.New(t)
	out, err := story(t, map[string]string{"VAULT_ADDR": "https://vault.example:8200", "DATABASE_PASSWORD": "correct horse"}, nil)
	is.True(strings.HasPrefix(out, "vault: VAULT_ADDR is set (https://vault.example:8200)\n"))
	is.True(strings.HasPrefix(err.Error(), "secrets: detect: VAULT_ADDR is set (https://vault.example:8200), so vault was chosen: no token: "))
}

func TestWithoutASecret(t *testing.T) {
	is := is.New(t)
	out, err := story(t, nil, nil)
	is.True(errors.Is(err, secrets.ErrNotFound))
	is.True(strings.HasPrefix(out, "env: "))
}

// The search for values must be able to find one.
func TestALeakIsSeen(t *testing.T) {
	is := is.New(t)
	value := rand.Text()
	is.True(len(secretstest.Leaks(value, "the password is "+value)) > 0)
}
