package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/secretstest"
)

// inMemory returns a directory on a tmpfs.
func inMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "test-*") //nolint:usetesting // that of t may be on a disk
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// left returns the files below directories that contain the text.
func left(t *testing.T, text string, dirs ...string) (all []string) {
	t.Helper()
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() {
				if content, _ := os.ReadFile(path); strings.Contains(string(content), text) {
					all = append(all, path)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestExecFiles(t *testing.T) {
	is := is.New(t)
	dir := inMemory(t)
	s := newStore(t, map[string]string{"a": canary, "b": "\x00" + pem})
	const list = `cd "$SECRETS_DIR" && pwd && stat -c '%a %n' . key sub sub/key "$0" && cmp key "$0" && tail -c +2 sub/key`
	r := s.command().run(t, execArgs([]string{"--", "sh", "-c", list, dir + "/key"},
		"--file=key=a", "--file=sub/key=b", "--file="+dir+"/key=a")...)
	is.Equal(r.code, 0)
	fresh, rest, _ := strings.Cut(r.stdout, "\n")
	is.Equal(rest, "700 .\n600 key\n700 sub\n600 sub/key\n600 "+dir+"/key\n"+strings.TrimSuffix(pem, "\n"))
	is.True(strings.HasPrefix(fresh, "/dev/shm/secrets-"))
	_, err := os.Lstat(fresh)
	is.True(os.IsNotExist(err))
	_, err = os.Lstat(dir + "/key")
	is.True(os.IsNotExist(err))
}

func TestExecRemovesFilesHoweverTheProgramEnds(t *testing.T) {
	is := is.New(t)
	dir := inMemory(t)
	s := newStore(t, map[string]string{"a": canary})
	flags := []string{"--file=key=a", "--file=" + dir + "/key=a"}
	for _, number := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		r := s.command().start(t, execArgs(program("server", "key"), flags...)...)
		r.stdout.await(t, canary)
		is.Equal(len(left(t, canary, dir)), 1) // the control
		if number == syscall.SIGKILL {
			is.NoErr(syscall.Kill(programOf(t, r), number))
		} else {
			is.NoErr(r.Process.Signal(number))
		}
		is.Equal(r.wait(t).code, map[syscall.Signal]int{syscall.SIGTERM: 42, syscall.SIGKILL: 137}[number])
		is.Equal(len(left(t, canary, dir)), 0)
	}
	for _, programs := range [][]string{{"--", "no-such-program"}, {"--", "sh", "-c", `touch "$SECRETS_DIR/more"; exit 3`}} {
		is.True(s.command().run(t, execArgs(programs, flags...)...).code != 0)
		is.Equal(len(left(t, "", dir)), 0)
	}
	// A program that cannot be started only shows when it is: the files are there by then.
	script := filepath.Join(t.TempDir(), "script")
	is.NoErr(os.WriteFile(script, []byte("#!/no/such/interpreter\n"), 0o700))
	is.Equal(s.command().run(t, execArgs([]string{"--", script}, flags...)...).code, 127)
	is.Equal(len(left(t, "", dir)), 0)
}

// programOf returns the process of the program server.
func programOf(t *testing.T, r *running) int {
	t.Helper()
	pid, err := strconv.Atoi(strings.Fields(r.stdout.String())[1])
	if err != nil || pid == r.Process.Pid {
		t.Fatalf("%d is no process of a child: %v", pid, err)
	}
	return pid
}

func TestExecRefusesPathsOfFiles(t *testing.T) {
	dir := inMemory(t)
	if err := os.Symlink("/etc", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	s := newStore(t, map[string]string{"a": canary})
	for path, want := range map[string]string{
		t.TempDir() + "/key":     "/dev/shm or /run",
		dir + "/none/key":        "/dev/shm or /run",
		dir + "/link":            "exists",
		dir + "/link/exec-tests": "/dev/shm or /run",
		dir:                      "exists",
		"/proc/self/key":         "/dev/shm or /run",
	} {
		t.Run(want, func(t *testing.T) {
			is := is.New(t)
			r := s.command().run(t, execArgs(program("env"), "--file", path+"=a")...)
			is.Equal(r.code, 5)
			is.Equal(r.stdout, "")
			is.True(strings.Contains(r.stderr, want))
			is.Equal(strings.Count(r.stderr, "\n"), 1)
		})
	}
	is := is.New(t)
	is.Equal(s.command().run(t, execArgs(program("env"), "--file", dir+"/new=a")...).code, 0) // the control
}

// What a run that was killed has left at an absolute path is replaced, so that the next one starts.
func TestExecReplacesAFileThatIsThere(t *testing.T) {
	is := is.New(t)
	path := inMemory(t) + "/left"
	is.NoErr(os.WriteFile(path, []byte("of a run before"), 0o644))
	s := newStore(t, map[string]string{"a": canary})
	r := s.command().run(t, "exec", "--file", path+"=a", "--", "sh", "-c", `stat -c %a "$1"; cat "$1"`, "sh", path)
	is.Equal(r, result{stdout: "600\n" + canary})
	_, err := os.Stat(path)
	is.True(errors.Is(err, os.ErrNotExist)) // it is removed at the end
}

// A SIGKILL of the command leaves values in memory only. Nothing is in the directories that it may write to.
func TestExecKilledLeavesNothingOnADisk(t *testing.T) {
	is := is.New(t)
	dir := inMemory(t)
	s := newStore(t, map[string]string{"a": canary})
	home, tmp, work := t.TempDir(), t.TempDir(), t.TempDir()
	c := s.command("HOME="+home, "TMPDIR="+tmp, "XDG_CACHE_HOME="+tmp, "GOTMPDIR="+tmp)
	c.dir = work
	r := c.start(t, execArgs(program("server", "key"), "--env=VALUE=a", "--file=key=a", "--file="+dir+"/key=a", "--mask", "--watch")...)
	r.stdout.await(t, "start")
	pid := programOf(t, r)
	defer func() { _ = syscall.Kill(pid, syscall.SIGKILL) }()
	directory := variableOf(t, pid, "SECRETS_DIR")
	defer os.RemoveAll(directory)
	is.NoErr(r.Process.Kill())
	is.NoErr(syscall.Kill(pid, syscall.SIGKILL))
	_ = r.Wait()
	is.Equal(len(left(t, canary, home, tmp, work)), 0)
	is.Equal(len(left(t, canary, dir, directory)), 2) // the control
}

// variableOf returns a variable of a process.
func variableOf(t *testing.T, pid int, name string) string {
	t.Helper()
	environment, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		t.Fatal(err)
	}
	for variable := range strings.SplitSeq(string(environment), "\x00") {
		if value, ok := strings.CutPrefix(variable, name+"="); ok {
			return value
		}
	}
	return ""
}

// Everybody on a machine can read the arguments of a process.
func TestExecShowsNoValueInArguments(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a": canary})
	arguments := func() string {
		all, err := exec.CommandContext(t.Context(), "ps", "-eo", "args", "-ww").Output()
		is.NoErr(err)
		lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
		is.NoErr(err)
		for _, path := range lines {
			line, _ := os.ReadFile(path) // of one that may have ended
			all = append(all, line...)
		}
		return string(all)
	}
	for _, how := range []string{inItsPlace, asChild} {
		r := s.command().start(t, execArgs(program("server"), "--env=VALUE=a", how)...)
		r.stdout.await(t, "start")
		all := arguments()
		is.True(strings.Contains(all, "as-program")) // it is among them
		secretstest.AssertNoLeak(t, canary, all)
		is.NoErr(r.Process.Signal(syscall.SIGTERM))
		r.wait(t)
	}
	control := exec.CommandContext(t.Context(), "sh", "-c", "read line", canary)
	stdin, err := control.StdinPipe()
	is.NoErr(err)
	is.NoErr(control.Start())
	is.True(strings.Contains(arguments(), canary)) // the control
	is.NoErr(stdin.Close())
	_ = control.Wait()
}

// A file that does not fit leaves all files as they were.
func TestExecWithFilesThatDoNotFit(t *testing.T) {
	is := is.New(t)
	dir := inMemory(t)
	smallDisk(t, dir)
	s := newStore(t, map[string]string{"a": canary, "b": "small-7f3Kq9ZxWv2m"})
	r := s.command().start(t, execArgs(program("server", "../../../"+dir+"/a", "../../../"+dir+"/b"),
		"--file="+dir+"/a=a", "--file="+dir+"/b=b", "--file=x=a", "--watch", "--interval=50ms", "--signal=HUP")...)
	r.stdout.await(t, "small-7f3Kq9ZxWv2m;")
	s.put("a", "new-"+canary)
	s.put("b", strings.Repeat("x", 100<<10))
	r.stderr.await(t, "no space left on device")
	is.Equal(count(r.stdout.String(), "signal"), 0)
	for name, want := range map[string]string{"a": canary, "b": "small-7f3Kq9ZxWv2m"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		is.NoErr(err)
		is.Equal(string(content), want)
	}
	s.put("b", "fits-7f3Kq9ZxWv2m")
	r.stdout.await(t, "signal 1  new-"+canary+" fits-7f3Kq9ZxWv2m;")
	is.NoErr(r.Process.Signal(syscall.SIGTERM))
	r.wait(t)
	is.Equal(len(left(t, "", dir)), 0)
}

func TestExecSignalsWhenAValueChanges(t *testing.T) {
	is := is.New(t)
	dir := inMemory(t)
	s := newStore(t, map[string]string{"a": canary, "b": "b-7f3Kq9ZxWv2m"})
	r := s.command().start(t, execArgs(program("server", "a", "b"),
		"--env=VALUE=a", "--file=a=a", "--file=b=b", "--file="+dir+"/a=a", "--watch", "--signal=sigusr1")...)
	r.stdout.await(t, canary+" "+canary+" b-7f3Kq9ZxWv2m;")
	s.put("a", second)
	r.stdout.await(t, "signal 10 "+canary+" "+second+" b-7f3Kq9ZxWv2m;") // a variable of a running program stays
	is.Equal(left(t, second, dir), []string{dir + "/a"})
	info, err := os.Stat(dir + "/a")
	is.NoErr(err)
	is.Equal(info.Mode().Perm(), fs.FileMode(0o600))
	got := r.end(t)
	is.Equal(got.code, 42)
	is.Equal(count(got.stdout, "start"), 1)
	is.True(strings.HasPrefix(got.stderr, "secrets: exec: a has changed: sending sigusr1 to "))
	is.Equal(len(left(t, "", dir)), 0)
}

// The variable of a running program is masked after any number of changes.
func TestExecMasksWhatTheProgramStillHas(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a": canary})
	r := s.command().start(t, execArgs(program("server", "a"), "--env=VALUE=a", "--file=a=a", "--watch", "--signal=HUP", "--mask")...)
	r.stdout.await(t, "start")
	values := []string{canary, second, third, "fourth-7f3Kq9ZxWv2m"}
	for i, value := range values[1:] {
		s.put("a", value)
		eventually(t, "signal", func() bool { return count(r.stdout.String(), "signal 1 "+mark+" "+mark+";") == i+1 })
	}
	got := r.end(t)
	is.Equal(got.code, 42)
	for _, value := range values {
		secretstest.AssertNoLeak(t, value, got.all())
	}
}
