package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// process is a program that runs.
type process struct {
	os   *os.Process
	done chan struct{} // closed when it has ended, and its output is passed on
	code int           // then

	abandoned chan struct{} // closed by abandon
	abandon   func()        // what the program leaves running is no longer waited for
}

// start starts the program with the values.
func (l *launch) start(ctx context.Context, values map[string]secrets.Secret) (*process, error) {
	cmd := &exec.Cmd{
		Path: l.path, Args: l.args, Env: l.environment(values), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}
	var streams []*stream
	if l.mask {
		if err := l.hold(ctx, values); err != nil {
			return nil, err
		}
		for _, output := range []struct {
			to  *os.File
			set func(*os.File)
		}{
			{os.Stdout, func(f *os.File) { cmd.Stdout = f }},
			{os.Stderr, func(f *os.File) { cmd.Stderr = f }},
		} {
			s, write, err := newStream(l.redactor.Writer(output.to))
			if err != nil {
				return nil, err
			}
			defer write.Close() //nolint:errcheck // the program has its own
			output.set(write)
			streams = append(streams, s)
		}
	}
	if err := cmd.Start(); err != nil {
		return nil, notStarted(l.args[0], err)
	}
	p := &process{os: cmd.Process, done: make(chan struct{}), abandoned: make(chan struct{})}
	p.abandon = sync.OnceFunc(func() { close(p.abandoned) })
	go func() {
		defer close(p.done)
		_ = cmd.Wait() //nolint:errcheck // the state says it
		p.code = statusOf(cmd.ProcessState)
		for _, s := range streams {
			if lost := s.drain(p.abandoned); lost && p.code == 0 {
				p.code = exitOther
			}
		}
	}()
	return p, nil
}

// supervisor runs a program as a child, and starts it again when values change.
type supervisor struct {
	*launch
	client  *secrets.Client
	values  map[string]secrets.Secret // what the program has, or will have when it starts again
	program *process
	again   bool             // the program has been told to end, and starts again
	kill    <-chan time.Time // its time for that is over
	ending  bool             // the command has been told to end: nothing starts again
}

// supervise runs the program until it ends. The error has its exit code.
func (l *launch) supervise(ctx context.Context, client *secrets.Client, values map[string]secrets.Secret) (err error) {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, caught()...)
	defer signal.Stop(signals)
	if ctx.Err() != nil {
		return interrupted()
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // from now on, the program decides when it ends
	defer cancel()
	s := &supervisor{launch: l, client: client, values: values}
	defer func() { warn(l.mounted.remove()) }()
	if err := l.mounted.create(); err != nil {
		return err
	}
	if err := l.mounted.write(values); err != nil {
		return err
	}
	if l.hold, err = holder(l.redactor); err != nil {
		return err
	}
	changed := make(chan struct{}, 1)
	if l.watch {
		if err := s.follow(ctx, changed); err != nil {
			return err
		}
	}
	if s.program, err = l.start(ctx, values); err != nil {
		return err
	}
	return s.loop(ctx, signals, changed)
}

// loop returns when the program has ended by itself.
func (s *supervisor) loop(ctx context.Context, signals <-chan os.Signal, changed <-chan struct{}) (err error) {
	var settled <-chan time.Time
	var answers <-chan answer
	for {
		due := settled
		if answers != nil {
			due = nil // one read at a time
		}
		select {
		case received := <-signals:
			s.receive(received)
		case <-changed:
			if settled == nil {
				settled = time.After(settling)
			}
		case <-due:
			settled, answers = nil, s.read(ctx)
		case a := <-answers:
			answers = nil
			if !s.take(a) {
				settled = time.After(s.interval)
			}
		case <-s.kill:
			s.kill = nil
			_ = s.program.os.Kill() //nolint:errcheck // it has ended meanwhile
			s.program.abandon()
		case <-s.program.done:
			if !s.again || s.ending {
				return &exitError{code: s.program.code}
			}
			s.again, s.kill = false, nil
			if s.program, err = s.start(ctx, s.values); err != nil {
				return err
			}
		}
	}
}

// receive passes a signal on to the program.
func (s *supervisor) receive(received os.Signal) {
	switch received {
	case os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT:
		// Programs survive SIGINT and SIGQUIT, as a shell or a JVM does. Then the command goes on.
		s.ending = s.ending || s.again || received == syscall.SIGTERM
		if received == syscall.SIGTERM || errors.Is(s.program.os.Signal(syscall.Signal(0)), os.ErrProcessDone) {
			s.program.abandon()
		}
	}
	if passedOn(received) {
		_ = s.program.os.Signal(received) //nolint:errcheck // it has ended meanwhile
	}
}

// act makes the program use the new values.
func (s *supervisor) act(what string) {
	name := printable(s.args[0])
	switch {
	case s.ending || s.again:
	case s.signal != nil:
		fmt.Fprintf(os.Stderr, "secrets: exec: %s: sending %v to %s\n", what, s.signalName, name)
		_ = s.program.os.Signal(s.signal) //nolint:errcheck // it has ended meanwhile
	default:
		if terminate(s.program.os) != nil {
			return // it has ended by itself
		}
		fmt.Fprintf(os.Stderr, "secrets: exec: %s: restarting %s\n", what, name)
		s.again, s.kill = true, time.After(s.grace)
	}
}
