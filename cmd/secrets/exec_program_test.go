package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/term"
)

// canary is a value that occurs nowhere else.
const canary = "canary-7f3Kq9ZxWv2m"

// program returns the arguments that make exec run one of the programs below: the binary of the tests.
func program(name string, args ...string) []string {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return append([]string{"--", self, "as-program", name}, args...)
}

// execArgs returns the arguments of exec with these flags and that program.
func execArgs(program []string, flags ...string) []string {
	return append(append([]string{"exec"}, flags...), program...)
}

// asProgram is the main function of the programs that the tests of exec run.
func asProgram(args []string) (code int, ok bool) {
	if len(args) < 3 || args[1] != "as-program" {
		return 0, false
	}
	name, args := args[2], args[3:]
	switch name {
	case "env": // prints its variables, each with a NUL
		for _, variable := range os.Environ() {
			fmt.Print(variable, "\x00")
		}
	case "exit":
		code, _ = strconv.Atoi(args[0])
	case "touch":
		_ = os.WriteFile(args[0], nil, 0o600)
	case "split": // prints a variable in two writes, at every place
		value := os.Getenv(args[0])
		for i := range len(value) + 1 {
			for _, part := range []string{value[:i], value[i:] + "\n"} {
				for _, out := range []*os.File{os.Stdout, os.Stderr} {
					_, _ = out.WriteString(part)
					drained(out) // the reader gets the part alone
				}
			}
		}
	case "flood": // prints a variable until nobody reads it
		for {
			if _, err := fmt.Println(os.Getenv(args[0])); err != nil {
				return 1, true
			}
		}
	case "leave": // leaves a program running that prints a variable later
		later := exec.CommandContext(context.Background(), os.Args[0], "as-program", "later", args[0])
		later.Stdout = os.Stdout
		_, _ = later.StdinPipe() // it ends with this process
		_ = later.Start()
		fmt.Println("first")
	case "later":
		_, _ = io.Copy(io.Discard, os.Stdin) // until the process before has ended
		fmt.Println("later", os.Getenv(args[0]))
	case "terminal":
		for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
			fmt.Print(term.IsTerminal(int(f.Fd())), " ")
		}
	case "ignored":
		fmt.Println(signal.Ignored(syscall.SIGHUP), signal.Ignored(syscall.SIGINT))
	case "server":
		return server(args), true
	case "deaf": // has to be killed
		signal.Ignore(syscall.SIGTERM)
		fmt.Printf("deaf %s\n", os.Getenv("VALUE"))
		<-time.After(2 * longest) // a failed test leaves it behind, but not for ever
	}
	return code, true
}

// server runs until SIGTERM, and ends with 42. It prints VALUE and the files, at its start and with each signal that it gets.
func server(files []string) int {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, caught()...)
	show := func(why string) {
		line := why + " " + os.Getenv("VALUE")
		for _, file := range files {
			content, _ := os.ReadFile(filepath.Join(os.Getenv("SECRETS_DIR"), file))
			line += " " + string(content)
		}
		fmt.Println(line + ";")
	}
	show("start " + strconv.Itoa(os.Getpid()))
	for s := range signals {
		number, _ := s.(syscall.Signal)
		show(fmt.Sprintf("signal %d", number))
		if s == syscall.SIGTERM {
			return 42
		}
	}
	return 0
}

// store is a directory of secrets for the backend file.
type store struct {
	t   *testing.T
	dir string
}

func newStore(t *testing.T, secrets map[string]string) store {
	t.Helper()
	s := store{t, t.TempDir()}
	for path, value := range secrets {
		s.put(path, value)
	}
	return s
}

// put writes a value beside its path, and renames it there.
func (s store) put(path, value string) {
	s.t.Helper()
	path = filepath.Join(s.dir, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.t.Fatal(err)
	}
	temporary := filepath.Join(s.t.TempDir(), "new")
	if err := os.WriteFile(temporary, []byte(value), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(temporary, path); err != nil {
		s.t.Fatal(err)
	}
}

// command returns a command that reads from the store.
func (s store) command(env ...string) command {
	return command{env: append(env, "SECRET_MANAGER_PATH="+s.dir)}
}

// count returns how many lines of text begin with prefix.
func count(text, prefix string) (n int) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	return n
}

// all is everything that was printed.
func (r result) all() string { return r.stdout + r.stderr }
