package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/kudev/kudev/cmd/kudev/internal/vm/wire"
)

// Command is a program to run in the guest.
type Command struct {
	Args   []string
	Env    []string // nil for PATH, HOME and TERM
	Ready  bool     // the program gets a descriptor 3 to write to when it is ready; see Process.Ready
	Stdin  string
	Stdout io.Writer // nil for Result.Stdout. Written to from one goroutine at a time, the one that reads the line: it must not block for long
	Stderr io.Writer // nil for Result.Stderr
}

// Result is how a program ended. Times are the guest's: they do not depend on the line.
type Result struct {
	Stdout, Stderr string
	wire.Ending
}

// Took is the program's wall time.
func (r Result) Took() time.Duration { return r.Ended - r.Began }

// Process is a program that was started in the guest.
type Process struct {
	guest   *Guest
	id      uint32
	command Command
	stdout  bytes.Buffer
	stderr  bytes.Buffer
	readyAt chan time.Duration
	done    chan struct{}
	once    sync.Once
	result  Result
	err     error
}

// Start starts a program.
func (g *Guest) Start(c Command) (*Process, error) {
	p := &Process{guest: g, command: c, readyAt: make(chan time.Duration, 1), done: make(chan struct{})}
	g.mu.Lock()
	if g.lost != nil {
		g.mu.Unlock()
		return nil, fmt.Errorf("run %s: %w%s", strings.Join(c.Args, " "), g.lost, g.Why())
	}
	g.last++
	p.id = g.last
	g.running[p.id] = p
	g.mu.Unlock()
	data, err := json.Marshal(wire.Command{Args: c.Args, Env: c.Env, Ready: c.Ready})
	if err != nil {
		return nil, err
	}
	if err := g.send(p.id, wire.Run, data); err != nil {
		return nil, err
	}
	for in := c.Stdin; len(in) > 0; {
		n := min(len(in), 4096)
		if err := g.send(p.id, wire.Input, []byte(in[:n])); err != nil {
			return nil, err
		}
		in = in[n:]
	}
	return p, g.send(p.id, wire.Input, nil)
}

func (g *Guest) send(id uint32, kind wire.Kind, data []byte) error {
	g.sending.Lock()
	defer g.sending.Unlock()
	if err := wire.Write(g.line, id, kind, data); err != nil {
		return fmt.Errorf("talk to the guest: %w", err)
	}
	return nil
}

// Run runs a program to its end. The error is about running it: one that ends with another status than 0 is none.
func (g *Guest) Run(ctx context.Context, c Command) (Result, error) {
	p, err := g.Start(c)
	if err != nil {
		return Result{}, err
	}
	return p.Wait(ctx)
}

// Shell runs a script in the guest's shell and returns what it printed. It fails with both outputs when the script does.
func (g *Guest) Shell(ctx context.Context, script string) (string, error) {
	r, err := g.Run(ctx, Command{Args: []string{"sh", "-c", script}})
	if err != nil {
		return r.Stdout, err
	}
	if r.Code != 0 {
		return r.Stdout, fmt.Errorf("sh -c '%s': exit status %d\n%s%s", script, r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout, nil
}

// Ready waits until the program has said that it is ready, and returns when that was, in time since the guest's start.
// It fails when the program ends before.
func (p *Process) Ready(ctx context.Context) (time.Duration, error) {
	select {
	case at := <-p.readyAt:
		return at, nil
	case <-p.done:
		select {
		case at := <-p.readyAt:
			return at, nil
		default:
		}
		if p.err != nil {
			return 0, p.err
		}
		return 0, fmt.Errorf("%s: ended with status %d before it was ready: %s%s", p.name(), p.result.Code, p.result.Stdout, p.result.Stderr)
	case <-ctx.Done():
		return 0, fmt.Errorf("%s: not ready: %w", p.name(), ctx.Err())
	}
}

// Wait waits for the program's end. When the context ends first the program goes on.
func (p *Process) Wait(ctx context.Context) (Result, error) {
	select {
	case <-p.done:
		return p.result, p.err
	case <-ctx.Done():
		return Result{}, fmt.Errorf("%s: still running: %w%s", p.name(), ctx.Err(), p.guest.Why())
	}
}

// Signal sends a signal to the program.
func (p *Process) Signal(s syscall.Signal) error {
	return p.guest.send(p.id, wire.Signal, strconv.AppendInt(nil, int64(s), 10))
}

func (p *Process) name() string { return strings.Join(p.command.Args, " ") }

func (p *Process) handle(kind wire.Kind, data []byte) {
	switch kind {
	case wire.Output:
		write(p.command.Stdout, &p.stdout, data)
	case wire.Errors:
		write(p.command.Stderr, &p.stderr, data)
	case wire.Ready:
		t, _ := decode[wire.Time](data)
		p.readyAt <- t.At
	case wire.Exit:
		p.end(decode[wire.Ending](data))
	case wire.Failed:
		p.end(wire.Ending{}, fmt.Errorf("%s: %s", p.name(), data))
	}
}

func write(to io.Writer, instead *bytes.Buffer, data []byte) {
	if to == nil {
		to = instead
	}
	to.Write(data)
}

func (p *Process) end(e wire.Ending, err error) {
	p.once.Do(func() {
		p.result = Result{Stdout: p.stdout.String(), Stderr: p.stderr.String(), Ending: e}
		if p.err = err; err != nil {
			p.err = fmt.Errorf("run %s: %w%s", p.name(), err, p.guest.Why())
		}
		close(p.done)
	})
}

func decode[T any](data []byte) (v T, err error) {
	err = json.Unmarshal(data, &v)
	return v, err
}

// killWithParent ends the program when this one is killed and cannot do it.
func killWithParent(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
