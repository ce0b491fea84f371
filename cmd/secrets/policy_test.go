package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

const hcl = `# api/token
path "secret/data/api" { capabilities = ["read"] }

# database#password, database#user, database?version=3
path "secret/data/database" { capabilities = ["read"] }

# team/app/tls#
path "secret/data/team/app/tls" { capabilities = ["read"] }
`

func TestPolicyOfVault(t *testing.T) {
	keys := []string{"team/app/tls#", "database#password", "api/token", "database#user", "database#password", "database?version=3"}
	t.Run("arguments", func(t *testing.T) {
		is := is.New(t)
		got := command{}.run(t, append([]string{"policy", "--backend", "vault"}, keys...)...)
		is.Equal(got, result{stdout: hcl})
	})
	t.Run("standard input", func(t *testing.T) {
		is := is.New(t)
		got := command{stdin: "# keys\n\n" + strings.Join(keys, "\n")}.run(t, "policy", "--backend", "vault", "-f", "-")
		is.Equal(got, result{stdout: hcl})
	})
	t.Run("a file, KV 1 and a mount", func(t *testing.T) {
		is := is.New(t)
		file := filepath.Join(t.TempDir(), "keys")
		is.NoErr(os.WriteFile(file, []byte(strings.Join(keys, "\n")), 0o600))
		got := command{env: []string{"VAULT_MOUNT=team/kv"}}.
			run(t, "policy", "--backend", "vault", "-f", file, "--kv-version", "1", "team/app/key")
		is.Equal(got.code, exitUsage) // version 1 keeps no versions
		is.Equal(got.stdout, "")
		is.True(strings.Contains(got.stderr, "database?version=3"))
		got = command{env: []string{"VAULT_MOUNT=team/kv"}}.run(t, "policy", "--backend", "vault", "--kv-version", "1", "database#password")
		is.Equal(got, result{stdout: "# database#password\npath \"team/kv/database\" { capabilities = [\"read\"] }\n"})
	})
}

// A policy is printed for the first backend that has one, whatever the environment has to reach it.
func TestPolicyIsForTheFirstBackendThatHasOne(t *testing.T) {
	is := is.New(t)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	is.NoErr(err)
	defer listener.Close()
	connected := make(chan struct{}, 1)
	go func() {
		if c, err := listener.Accept(); err == nil {
			_ = c.Close()
			connected <- struct{}{}
		}
	}()
	address := "http://" + listener.Addr().String()
	env := []string{
		"VAULT_ADDR=" + address, "AWS_REGION=eu-west-1", "AWS_ENDPOINT_URL=" + address,
		"VAULT_AUTH_METHOD=approle", // without a role: a login is no matter of a policy
	}
	for _, c := range []struct {
		flags []string
		begin string
	}{
		{nil, "# a"},
		{[]string{"--backend", "env", "--backend", "vault", "--fallback", "aws"}, "# a"},
		{[]string{"--backend", "aws", "--fallback", "vault"}, "{"},
		{[]string{"--backend", "file", "--fallback", "aws"}, "{"},
	} {
		got := command{env: env}.run(t, slices.Concat([]string{"policy"}, c.flags, []string{"a", "b", "c"})...)
		is.Equal(got.code, exitFound)
		is.True(strings.HasPrefix(got.stdout, c.begin))
		is.Equal(got.stderr, "")
	}
	select {
	case <-connected:
		t.Error("a policy has asked a server")
	default:
	}
	// The control: a read does connect.
	is.True(command{env: append(env, "VAULT_TOKEN=hvs.none", "VAULT_AUTH_METHOD=")}.run(t, "get", "--timeout", "2s", "a").code != exitFound)
	<-connected
}

func TestPolicyOfWhatHasNone(t *testing.T) {
	for _, flags := range [][]string{nil, {"--backend", "env"}, {"--backend", "file", "--fallback", "env"}} {
		is := is.New(t)
		got := command{}.run(t, slices.Concat([]string{"policy"}, flags, []string{"a"})...)
		is.Equal(got.code, exitUsage)
		is.Equal(got.stdout, "")
		is.True(strings.Contains(got.stderr, "no policy is needed for "))
		is.Equal(strings.Count(got.stderr, "\n"), 1)
	}
	is.New(t).Equal(command{}.run(t, "policy", "--backend", "vault").code, exitUsage)
	is.New(t).Equal(command{}.run(t, "policy", "--backend", "vault", "--kv-version", "3", "a").code, exitUsage)
}

// A key whose name is a pattern in policies gets none, and nothing is printed for the others either.
func TestPolicyRefusesPatterns(t *testing.T) {
	for _, key := range []string{
		"+#password", "app/+/password", "a/b/+#", "app*#password", "app/*#", "*#a", "a+*b#x", "{{identity.entity.id}}#x", "a/}}#", "{{#a",
	} {
		is := is.New(t)
		got := command{}.run(t, "policy", "--backend", "vault", "database#password", key)
		is.Equal(got.code, exitUsage)
		is.Equal(got.stdout, "")
		is.True(strings.HasPrefix(got.stderr, "secrets: policy: "+key+": a policy of Vault takes "))
	}
	for _, key := range []string{"a*b#password", "a+#password", "+a#password", "database#*", "database#+"} {
		is := is.New(t)
		is.Equal(command{}.run(t, "policy", "--backend", "vault", key).code, exitFound)
	}
	for _, mount := range []string{"team/+", "+", "a+*"} {
		is := is.New(t)
		is.Equal(command{env: []string{"VAULT_MOUNT=" + mount}}.run(t, "policy", "--backend", "vault", "a").code, exitUsage)
	}
	is := is.New(t)
	got := command{}.run(t, "policy", "--backend", "vault", "a//b", "good", "+", "../c")
	is.Equal(got.code, exitUsage)
	is.Equal(strings.Count(got.stderr, "\n"), 3)
	got = command{env: []string{"AWS_REGION=eu-west-1"}}.run(t, "policy", "--backend", "aws", "db*", "d?b", "db", "${aws:username}", "a b")
	is.Equal(got.code, exitUsage)
	is.Equal(got.stdout, "")
	for _, key := range []string{"db*", "d?b", "${aws:username}", "a b"} {
		is.True(strings.Contains(got.stderr, key))
	}
}

const iam = `{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": "secretsmanager:GetSecretValue",
      "Resource": [
        "arn:aws:secretsmanager:eu-west-1:*:secret:prod/api-??????",
        "arn:aws:secretsmanager:eu-west-1:*:secret:prod/database-??????",
        "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf",
        "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-main-??????"
      ]
    }%s
  ]
}
`

func TestPolicyOfAWS(t *testing.T) {
	const batch = `,
    {
      "Effect": "Allow",
      "Action": "secretsmanager:BatchGetSecretValue",
      "Resource": [
        "*"
      ]
    }`
	const arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-"
	run := command{env: []string{"AWS_REGION=eu-west-1", "AWS_SECRET_PREFIX=prod/"}}
	args := []string{"policy", "database#password", "database#user", arn + "AbCdEf#x", "api?version=AWSPREVIOUS", arn + "main"}
	is := is.New(t)
	is.Equal(run.run(t, args...), result{stdout: fmt.Sprintf(iam, batch)})
	is.Equal(run.run(t, append(args, "--batch=false")...), result{stdout: fmt.Sprintf(iam, "")})

	has := func(args ...string) bool {
		got := run.run(t, append([]string{"policy"}, args...)...)
		is.Equal(got.code, exitFound)
		return strings.Contains(got.stdout, actionBatch)
	}
	is.True(!has("a"))
	is.True(!has("a", "b", "a#x", "b#y"))
	is.True(has("a", "b", "c"))
	is.True(has("a", "--batch"))
	for region, partition := range map[string]string{
		"eu-central-1": "aws", "cn-north-1": "aws-cn", "us-gov-west-1": "aws-us-gov", "us-isob-east-1": "aws-iso-b", "eusc-de-east-1": "aws-eusc",
	} {
		got := command{env: []string{"AWS_REGION=" + region}}.run(t, "policy", "--backend", "aws", "a")
		is.True(strings.Contains(got.stdout, `"arn:`+partition+`:secretsmanager:`+region+`:*:secret:a-??????"`))
	}
}

// allowed evaluates a policy of IAM: * is any text, ? any character. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html.
func allowed(t testing.TB, policy iamPolicy, action, arn string) bool {
	t.Helper()
	for _, s := range policy.Statement {
		for _, r := range s.Resource {
			pattern := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(r))
			if s.Effect == "Allow" && s.Action == action && regexp.MustCompile("^"+pattern+"$").MatchString(arn) {
				return true
			}
		}
	}
	return false
}

// A reader that may do what the policy says, and no more, reads the keys, and nothing else. Without one of the resources, exactly the keys
// of that are denied.
func TestPolicyOfAWSIsTheLeast(t *testing.T) {
	names := []string{
		"prod/database", "prod/database-2", "prod/databas", "prod/database/x", "prod/api", "prod/api-abcdef", "prod/a.b+c=d@e!_-",
		"prod/my-secret", "database",
	}
	keys := map[string]string{ // their documents
		"database#password": "prod/database", "api#password": "prod/api", "a.b+c=d@e!_-#password": "prod/a.b+c=d@e!_-",
		"my-secret": "prod/my-secret",
	}
	server := awstest.NewServer(t)
	for _, name := range names {
		server.Put(name, `{"password":"`+canary+`"}`)
	}
	keys[server.ARN("prod/api-abcdef")] = "prod/api-abcdef"
	run := command{env: append(server.Env(), "AWS_SECRET_PREFIX=prod/")}
	is := is.New(t)
	args := []string{"policy"}
	for key := range keys {
		args = append(args, key)
	}
	printed := run.run(t, args...)
	is.Equal(printed.code, exitFound)
	var policy iamPolicy
	is.NoErr(json.Unmarshal([]byte(printed.stdout), &policy))

	// enforce makes the server deny what a policy does not allow.
	enforce := func(policy iamPolicy) {
		server.AllowAll()
		for _, name := range names {
			if !allowed(t, policy, actionGet, server.ARN(name)) {
				server.Deny("GetSecretValue", name)
			}
		}
		if !allowed(t, policy, actionBatch, "*") {
			server.Deny("BatchGetSecretValue")
		}
	}
	denied := func(args ...string) (keys []string) {
		got := run.run(t, append([]string{"check"}, args...)...)
		secretstest.AssertNoLeak(t, canary, got.stdout, got.stderr)
		for line := range strings.Lines(got.stdout) {
			if strings.Contains(line, "permission denied") {
				keys = append(keys, strings.Fields(line)[0])
			}
		}
		slices.Sort(keys)
		return keys
	}
	enforce(policy)
	is.Equal(run.run(t, append([]string{"check"}, args[1:]...)...).code, exitFound)
	others := []string{server.ARN("prod/database-2"), server.ARN("prod/databas"), server.ARN("prod/database/x"), server.ARN("database")}
	slices.Sort(others)
	is.Equal(denied(others...), others)
	for i, r := range policy.Statement[0].Resource {
		less := iamPolicy{policy.Version, slices.Clone(policy.Statement)}
		less.Statement[0].Resource = slices.Delete(slices.Clone(policy.Statement[0].Resource), i, i+1)
		enforce(less)
		var want []string
		for key, name := range keys {
			if allowed(t, iamPolicy{Statement: []iamStatement{{"Allow", actionGet, []string{r}}}}, actionGet, server.ARN(name)) {
				want = append(want, key)
			}
		}
		is.Equal(len(want), 1)
		is.Equal(denied(args[1:]...), want)
	}

	// The control: a pattern that is too wide is seen.
	policy.Statement[0].Resource[0] = "arn:aws:secretsmanager:us-east-1:*:secret:prod/database*"
	enforce(policy)
	is.Equal(denied(others...), []string{server.ARN("database"), server.ARN("prod/databas")})
}
