package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/secretstest/vaulttest"
)

const pem = "-----BEGIN CERTIFICATE-----\nMIIB\n日本語\tÄ\r\n-----END CERTIFICATE-----\n\n"

// variables returns what the program env has printed.
func variables(r result) map[string]string {
	all := make(map[string]string)
	for variable := range strings.SplitSeq(strings.TrimSuffix(r.stdout, "\x00"), "\x00") {
		name, value, _ := strings.Cut(variable, "=")
		all[name] = value
	}
	return all
}

func TestExecPassesValuesByteForByte(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"database/password": canary, "tls": pem, "empty": ""})
	for _, more := range [][]string{nil, {"--watch"}} { // in its place, and as a child
		flags := append([]string{"--env", "PASSWORD=database#password", "--env", "TLS=tls", "--env", "EMPTY=empty", "--env", "2=tls"}, more...)
		r := s.command().run(t, execArgs(program("env"), flags...)...)
		is.Equal(r.code, 0)
		is.Equal(r.stderr, "")
		got := variables(r)
		is.Equal(got["PASSWORD"], canary)
		is.Equal(got["TLS"], strings.TrimSuffix(pem, "\n")) // the backend drops one line feed
		is.Equal(got["2"], got["TLS"])
		value, ok := got["EMPTY"]
		is.True(ok && value == "")
	}
}

func TestExecInherits(t *testing.T) {
	s := newStore(t, map[string]string{"a": canary})
	for _, test := range []struct {
		name  string
		flags []string
		want  map[string]string // "" for one that is missing
	}{
		{"everything", nil, map[string]string{"ONE": "1", "TWO": "2", "VALUE": canary, "SECRET_MANAGER_PATH": s.dir}},
		{"nothing", []string{"--pristine"}, map[string]string{"ONE": "", "TWO": "", "VALUE": canary, "PATH": "", "SECRET_MANAGER_PATH": ""}},
		{"some", []string{"--only", "ONE,NONE", "--only", "THREE"}, map[string]string{
			"ONE": "1", "TWO": "", "THREE": "3", "VALUE": canary, "NONE": "", "SECRET_MANAGER_PATH": "",
		}},
		{"both", []string{"--pristine", "--only=TWO"}, map[string]string{"ONE": "", "TWO": "2", "VALUE": canary}},
		{"not a variable that it replaces", []string{"--only=VALUE"}, map[string]string{"ONE": "", "VALUE": canary}},
	} {
		t.Run(test.name, func(t *testing.T) {
			is := is.New(t)
			for _, more := range []string{"--watch=false", "--watch"} {
				flags := append([]string{"--env=VALUE=a", more}, test.flags...)
				r := s.command("ONE=1", "TWO=2", "THREE=3", "VALUE=of the caller").run(t, execArgs(program("env"), flags...)...)
				is.Equal(r.code, 0)
				is.Equal(strings.Count(r.stdout, "VALUE="), 1) // not twice: programs take the first or the last
				got := variables(r)
				for name, want := range test.want {
					is.Equal(got[name], want) // of name
				}
			}
		})
	}
}

func TestExecStartsNothingUnlessAllKeysAreRead(t *testing.T) {
	is := is.New(t)
	server := vaulttest.New(t)
	server.Put("secret/database", `{"password":"`+canary+`"}`)
	server.Put("secret/denied", `{"password":"`+canary+`"}`)
	server.Deny("secret/denied")
	c := command{env: []string{"VAULT_ADDR=" + server.Address(), "VAULT_TOKEN=" + server.Token()}}
	mark := filepath.Join(t.TempDir(), "mark")
	r := c.run(t, execArgs(program("touch", mark), "--env=A=database#password", "--env=B=none#x", "--env=C=denied#password")...)
	is.Equal(r.code, 3) // denied is worse than not found
	is.Equal(count(r.stderr, "secrets: "), 2)
	is.Equal(strings.Count(r.stderr, "\n"), 2)
	is.True(strings.Contains(r.stderr, "none#x: not found") && strings.Contains(r.stderr, "denied#password: permission denied"))
	secretstest.AssertNoLeak(t, canary, r.all())
	_, err := os.Stat(mark)
	is.True(os.IsNotExist(err))

	server.Fail(502)
	r = c.run(t, execArgs(program("touch", mark), "--env=A=database#password")...)
	is.Equal(r.code, 4)
	_, err = os.Stat(mark)
	is.True(os.IsNotExist(err))

	server.Recover()
	is.Equal(c.run(t, execArgs(program("touch", mark), "--env=A=database#password")...).code, 0)
	_, err = os.Stat(mark)
	is.NoErr(err) // the control
}

func TestExecRefusesBeforeARead(t *testing.T) {
	server := vaulttest.New(t)
	server.Put("secret/a", `{"b":"`+canary+`"}`)
	c := command{env: []string{"VAULT_ADDR=" + server.Address(), "VAULT_TOKEN=" + server.Token()}}
	for name, args := range map[string][]string{
		"no program":            {"exec", "--env=A=a#b"},
		"no program after it":   {"exec", "--env=A=a#b", "--"},
		"no key":                execArgs(program("env"), "--env=A=a#b", "--env=A"),
		"an empty key":          execArgs(program("env"), "--env=A=a#b", "--env=B="),
		"a bad key":             execArgs(program("env"), "--env=A=a#b", "--env=B=../a"),
		"a name twice":          execArgs(program("env"), "--env=A=a#b", "--env=A=a#b"),
		"an empty name":         execArgs(program("env"), "--env=A=a#b", "--env==a"),
		"an empty name of only": execArgs(program("env"), "--env=A=a#b", "--only", "A,,B"),
		"only with a value":     execArgs(program("env"), "--env=A=a#b", "--only=A=B"),
		"a path out":            execArgs(program("env"), "--env=A=a#b", "--file=../a=a#b"),
		"an empty path":         execArgs(program("env"), "--env=A=a#b", "--file==a#b"),
		"a signal alone":        execArgs(program("env"), "--env=A=a#b", "--signal=HUP"),
		"a signal for none":     execArgs(program("env"), "--env=A=a#b", "--signal=HUP", "--watch"),
		"an unknown signal":     execArgs(program("env"), "--env=A=a#b", "--file=x=a#b", "--signal=HAP", "--watch"),
		"no interval":           execArgs(program("env"), "--env=A=a#b", "--watch", "--interval=0s"),
		"negative grace":        execArgs(program("env"), "--env=A=a#b", "--watch", "--grace=-1s"),
		"an unknown flag":       execArgs(program("env"), "--env=A=a#b", "--nope"),
		"the directory":         execArgs(program("env"), "--env=SECRETS_DIR=a#b", "--file=x=a#b"),
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			r := c.run(t, args...)
			is.Equal(r.code, 5)
			is.Equal(r.stdout, "")
			is.Equal(strings.Count(r.stderr, "\n"), 1)
			is.True(strings.HasPrefix(r.stderr, "secrets: "))
		})
	}
	is := is.New(t)
	is.Equal(server.Count("secret/a"), 0)
	is.Equal(c.run(t, execArgs(program("env"), "--env=A=a#b")...).code, 0)
	is.Equal(server.Count("secret/a"), 1) // the control
}

func TestExecRefusesWhatNoVariableHolds(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a": canary + "\x00x", "b": "x\x00" + canary})
	mark := filepath.Join(t.TempDir(), "mark")
	r := s.command().run(t, execArgs(program("touch", mark), "--env=A=a", "--env=B=b")...)
	is.Equal(r.code, 5)
	is.Equal(strings.Count(r.stderr, "NUL"), 2)
	secretstest.AssertNoLeak(t, canary, r.all())
	_, err := os.Stat(mark)
	is.True(os.IsNotExist(err))
}

func TestExecWithNamesAndKeysOfAllKinds(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a b/c=d": canary, "日本/鍵": "値"})
	r := s.command().run(t, execArgs(program("env"), "--env=WITH SPACE=a b/c=d", "--env=名\n前=日本/鍵", "--env=-x=日本#鍵")...)
	is.Equal(r.code, 0)
	got := variables(r)
	is.Equal(got["WITH SPACE"], canary)
	is.Equal(got["名\n前"], "値")
	is.Equal(got["-x"], "値")
	for _, key := range []string{"a\x1b[31mb", "a\nb", "a\u202eb", "\xff", strings.Repeat("x", 3000), "a//b", "a/./b", "$(id)"} {
		r := s.command().run(t, execArgs(program("env"), "--env=A="+key)...)
		is.True(r.code == 5 || key == "$(id)" && r.code == 2)
		is.Equal(strings.Count(r.stderr, "\n"), 1) // one line
		is.True(!strings.ContainsAny(r.stderr, "\x1b\u202e"))
		is.Equal(r.stdout, "")
	}
}

func TestExecWithAThousandValues(t *testing.T) {
	is := is.New(t)
	values := make(map[string]string)
	var flags []string
	for i := range 1000 {
		values["many/"+strconv.Itoa(i)] = fmt.Sprint(canary, i)
		flags = append(flags, fmt.Sprintf("--env=V%d=many#%d", i, i))
	}
	s := newStore(t, values)
	for _, more := range [][]string{nil, {"--watch"}, {"--mask"}} {
		r := s.command().run(t, execArgs(program("env"), slices.Concat(flags, more)...)...)
		is.Equal(r.code, 0)
		got := variables(r)
		for i := range 1000 {
			want := fmt.Sprint(canary, i)
			if len(more) > 0 && more[0] == "--mask" {
				want = "[REDACTED]"
			}
			is.Equal(got[fmt.Sprint("V", i)], want)
		}
	}
}

func TestExecExitCodes(t *testing.T) {
	s := newStore(t, map[string]string{"a": canary})
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("no program"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		program []string
		want    int
	}{
		"0":              {program("exit", "0"), 0},
		"7":              {program("exit", "7"), 7},
		"255":            {program("exit", "255"), 255},
		"no program":     {[]string{"--", "no-such-program"}, 127},
		"no such path":   {[]string{"--", "./no/such"}, 127},
		"a directory":    {[]string{"--", t.TempDir()}, 126},
		"not executable": {[]string{"--", plain}, 126},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			for _, more := range []string{"--mask=false", "--mask"} {
				r := s.command().run(t, execArgs(test.program, "--env=A=a", more)...)
				is.Equal(r.code, test.want)
				is.Equal(r.stdout, "")
				is.Equal(strings.Count(r.stderr, "\n"), map[bool]int{true: 1}[test.want == 126 || test.want == 127])
				secretstest.AssertNoLeak(t, canary, r.all())
			}
		})
	}
}

// An allow-list of nothing lets nothing in, as where the variable that should name them is empty.
func TestExecOnlyOfNothing(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a": canary})
	got := variables(s.command("OTHER=of the caller").run(t, execArgs(program("env"), "--env=VALUE=a", "--only=")...))
	is.Equal(got["VALUE"], canary)
	_, inherited := got["OTHER"]
	is.True(!inherited)
}
