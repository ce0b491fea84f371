package secrets_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-5482dd03/secrets"
)

const crashEnv = "SECRETS_TEST_CRASH"

const asleep = "every goroutine asleep"

// crashMode is a way in which a program dies with a secret at hand.
type crashMode struct {
	name string
	die  func(v any)
	// leaks says that this mode shows a plain string. Otherwise the mode checks nothing.
	leaks bool
}

func crashModes() []crashMode {
	return []crashMode{
		{"panic with the value", func(v any) { panic(v) }, true},
		{"panic with a text of it", func(v any) { panic(fmt.Sprint("could not log in with ", v)) }, true},
		{"panic with an error of a holder", func(v any) { panic(fmt.Errorf("connect: %v", hiddenAny{v})) }, true},
		{"panic with an error of a pointer to a holder", func(v any) { panic(fmt.Errorf("connect: %+v", &hiddenAny{v})) }, true},
		{"panic with a holder", func(v any) { panic(hiddenAny{v}) }, false},
		{"panic with a pointer to a holder", func(v any) { panic(&hiddenAny{v}) }, false},
		{"panic with a Stringer that shows a holder", func(v any) { panic(stringer{v}) }, true},
		{"panic while panicking", func(v any) {
			defer func() { panic(fmt.Sprintf("again: %v", recover())) }()
			panic(v)
		}, true},
		{"panic on another goroutine", func(v any) {
			go panicOnPurpose(v)
			select {}
		}, true},
		{"nil pointer with the value on the stack", func(v any) { useNil(v, nil) }, false},
		{"fatal error with all goroutines", func(v any) {
			parked := make(chan struct{})
			for range 4 {
				go park(v, parked)
				<-parked
			}
			var mu sync.Mutex
			mu.Unlock()
			runtime.KeepAlive(v)
		}, false},
		{asleep, func(v any) {
			parked := make(chan struct{})
			go park(v, parked)
			<-parked
			runtime.Goexit()
		}, false},
		{"stack overflow", func(v any) {
			debug.SetMaxStack(1 << 20)
			overflow(v, 0)
		}, false},
		{"print of the value", func(v any) {
			fmt.Fprintf(os.Stderr, "%+v %#v", v, []any{hiddenAny{v}})
			os.Exit(2)
		}, true},
	}
}

type stringer struct{ v any }

func (s stringer) String() string { return fmt.Sprintf("%v", hiddenAny(s)) }
func (s stringer) Error() string  { return s.String() }

func panicOnPurpose(v any) { panic(v) }

//go:noinline
func useNil(v any, p *stringer) {
	p.v = v
	runtime.KeepAlive(v)
}

func park(v any, parked chan<- struct{}) {
	parked <- struct{}{}
	<-make(chan struct{})
	runtime.KeepAlive(v) // never reached: it keeps v on the stack
}

//go:noinline
func overflow(v any, n int) int {
	if n < 0 {
		return 0
	}
	return overflow(v, n+1) + len(fmt.Sprint(n))
}

// crash is main of the child process: mode is the name of a crashMode, after the kind of value to have at hand.
func crash(mode string) {
	kind, name, _ := strings.Cut(mode, ":")
	var v any = canary
	if kind == "secret" {
		client, err := secrets.New(newFake("doc", fmt.Sprintf(`{"password":%q}`, canary)))
		if err != nil {
			panic(err)
		}
		s, err := client.Get(context.Background(), "doc#password")
		if err != nil || newDetector(canary).find(s.Reveal()) == "" {
			panic("the child has no secret")
		}
		v = s
	}
	for _, m := range crashModes() {
		if m.name == name {
			m.die(v)
		}
	}
	fmt.Fprintln(os.Stderr, "the child survived") // and ends well, which fails the test
}

func TestCrashShowsNoSecret(t *testing.T) {
	d := newDetector(canary)
	for _, m := range crashModes() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			output := crashOutput(t, "secret:"+m.name)
			if how := d.find(output); how != "" {
				t.Errorf("the %s in the output:\n%s", how, output)
			}
			// The positive control: a plain string shows in this mode.
			if m.leaks && d.find(crashOutput(t, "string:"+m.name)) == "" {
				t.Error("the mode does not show a plain string either")
			}
		})
	}
}

// crashOutput runs this test binary as a child that dies, and returns all that it wrote.
func crashOutput(t *testing.T, mode string) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	limit := time.Minute
	if strings.HasSuffix(mode, asleep) {
		limit = 2 * time.Second // with cgo in the binary the runtime does not notice
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe, "-test.run=^$")
	cmd.Cancel = func() error {
		// Where there are signals, a child that hangs prints the stacks of all goroutines.
		if cmd.Process.Signal(syscall.SIGQUIT) == nil {
			return nil
		}
		return cmd.Process.Kill()
	}
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(os.Environ(), crashEnv+"="+mode, "GOTRACEBACK=all")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if _, crashed := errors.AsType[*exec.ExitError](err); !crashed {
		t.Fatalf("the child did not crash: %v\n%s", err, out.String())
	}
	if out.Len() == 0 && ctx.Err() == nil {
		t.Fatal("the child wrote nothing")
	}
	return out.String()
}
