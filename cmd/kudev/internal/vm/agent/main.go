//go:build linux

// Command agent is PID 1 of a guest: it mounts what every system mounts, then runs what the host asks for over the
// second serial port, in the frames of package wire. It reaps whatever ends.
//
// Called in the guest as "/init facts" it prints what a device manager has made of the machine, and as "/init wipe" it takes that back.
// "/init modules", which needs no process of its own, "/init unload FILE", "/init insert FILE", "/init storm PID" and "/init disturb PID" are for the tests of loading: see their
// functions.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/cmd/kudev/internal/vm/wire"
)

const port = "/dev/ttyS1"

var environment = []string{"PATH=/bin:/sbin:/usr/bin:/usr/sbin", "HOME=/root", "TERM=dumb"}

func main() {
	if err := call(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err) // on the console, and then the kernel panics: PID 1 is gone
		os.Exit(1)
	}
}

func call(args []string) error {
	switch {
	case os.Getpid() == 1:
		return run()
	case slices.Equal(args, []string{"facts"}):
		return writeFacts(os.Stdout)
	case slices.Equal(args, []string{"wipe"}):
		return wipe()
	case len(args) == 2 && args[0] == "insert":
		return insert(args[1])
	case len(args) == 2 && args[0] == "storm":
		return storm(args[1])
	case len(args) == 2 && args[0] == "disturb":
		return disturb(args[1])
	case len(args) == 2 && args[0] == "unload":
		return unload(args[1])
	}
	return errors.New("usage: /init facts|wipe|unload FILE|insert FILE|storm PID|disturb PID")
}

func run() error {
	for _, m := range []struct {
		kind, at, options string
	}{
		{"proc", "/proc", ""}, {"sysfs", "/sys", ""}, {"devtmpfs", "/dev", ""}, {"tmpfs", "/run", "mode=0755"}, {"tmpfs", "/tmp", ""},
		{"devpts", "/dev/pts", ""}, {"tmpfs", "/dev/shm", ""},
	} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, m.options); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	line, err := open(port)
	if err != nil {
		return err
	}
	a := &agent{line: line, started: make(chan struct{}, 1), programs: map[int]*program{}, byID: map[uint32]*program{}}
	a.send(0, wire.Hello, wire.Time{At: now()})
	go a.reap()
	in := bufio.NewReader(line)
	for {
		id, kind, data, err := wire.Read(in)
		if err != nil {
			return fmt.Errorf("read what the host says: %w", err)
		}
		a.handle(id, kind, data)
	}
}

// open opens the serial port as a plain stream of bytes, both ways.
func open(name string) (*os.File, error) {
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	term, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", name, err)
	}
	term.Iflag, term.Oflag, term.Lflag = 0, 0, 0
	term.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200
	term.Cc[unix.VMIN], term.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, term); err != nil {
		return nil, fmt.Errorf("prepare %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// agent runs programs. PID 1 has to wait for any child, so it cannot leave its own to os/exec: one goroutine reaps
// them all, and the table says whose each was.
type agent struct {
	sending sync.Mutex
	line    *os.File
	started chan struct{} // holds something when a child was started since it was last read

	mu       sync.Mutex // held from before a fork until the child is in the table
	programs map[int]*program
	byID     map[uint32]*program
}

type program struct {
	id      uint32
	pid     int
	began   time.Duration
	input   *os.File
	outputs sync.WaitGroup
}

func (a *agent) send(id uint32, kind wire.Kind, v any) {
	data, ok := v.([]byte)
	if !ok {
		data, _ = json.Marshal(v)
	}
	a.sending.Lock()
	defer a.sending.Unlock()
	wire.Write(a.line, id, kind, data)
}

func (a *agent) handle(id uint32, kind wire.Kind, data []byte) {
	if kind == wire.Run {
		var c wire.Command
		err := json.Unmarshal(data, &c)
		switch {
		case err != nil:
		case slices.Equal(c.Args, []string{"/init", "modules"}): // a test of loading asks for it behind each line: a process for it takes longer
			err = a.modules(id)
		default:
			err = a.start(id, c)
		}
		if err != nil {
			a.send(id, wire.Failed, []byte(err.Error()))
		}
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.byID[id]
	if p == nil {
		return // it has just ended
	}
	switch kind {
	case wire.Input:
		if len(data) == 0 {
			p.input.Close()
		} else {
			p.input.Write(data)
		}
	case wire.Signal:
		if n, err := strconv.Atoi(string(data)); err == nil {
			syscall.Kill(p.pid, syscall.Signal(n))
		}
	}
}

func (a *agent) start(id uint32, c wire.Command) error {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return errors.New("start a program: it has no name")
	}
	path, err := lookPath(c.Args[0])
	if err != nil {
		return err
	}
	stdin, input, err := os.Pipe()
	if err != nil {
		return err
	}
	defer stdin.Close()
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return err
	}
	defer outWrite.Close()
	errRead, errWrite, err := os.Pipe()
	if err != nil {
		return err
	}
	defer errWrite.Close()
	files := []uintptr{stdin.Fd(), outWrite.Fd(), errWrite.Fd()}
	var ready *os.File
	if c.Ready {
		var readyWrite *os.File
		if ready, readyWrite, err = os.Pipe(); err != nil {
			return err
		}
		defer readyWrite.Close()
		files = append(files, readyWrite.Fd())
	}
	if c.Env == nil {
		c.Env = environment
	}
	if c.Dir == "" {
		c.Dir = "/"
	}
	p := &program{id: id, input: input, began: now()}
	p.outputs.Add(2)

	a.mu.Lock()
	p.pid, err = syscall.ForkExec(path, c.Args, &syscall.ProcAttr{Dir: c.Dir, Env: c.Env, Files: files, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err == nil {
		a.programs[p.pid], a.byID[id] = p, p
		select {
		case a.started <- struct{}{}:
		default:
		}
	}
	a.mu.Unlock()
	if err != nil {
		for _, f := range []*os.File{input, outRead, errRead, ready} {
			f.Close()
		}
		return fmt.Errorf("start %s: %w", path, err)
	}
	go a.stream(p, outRead, wire.Output)
	go a.stream(p, errRead, wire.Errors)
	if ready != nil {
		go func() {
			defer ready.Close()
			if n, _ := ready.Read(make([]byte, 1)); n > 0 {
				a.send(id, wire.Ready, wire.Time{At: now()})
			}
		}()
	}
	return nil
}

// modules does as a program that writes the modules.
func (a *agent) modules(id uint32) error {
	var b bytes.Buffer
	began := now()
	if err := writeModules(&b); err != nil {
		return err
	}
	a.send(id, wire.Output, b.Bytes())
	a.send(id, wire.Exit, wire.Ending{Began: began, Ended: now()})
	return nil
}

func (a *agent) stream(p *program, from *os.File, kind wire.Kind) {
	defer p.outputs.Done()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			a.send(p.id, kind, buf[:n])
		}
		if err != nil {
			return
		}
	}
}

// reap waits for every child there ever is.
func (a *agent) reap() {
	for {
		var status syscall.WaitStatus
		var usage syscall.Rusage
		pid, err := syscall.Wait4(-1, &status, 0, &usage)
		if err == syscall.ECHILD { // an orphan comes only from a child that is there
			<-a.started
			continue
		}
		if err != nil {
			continue
		}
		ended := now()
		a.mu.Lock()
		p := a.programs[pid]
		if p != nil {
			delete(a.programs, pid)
			delete(a.byID, p.id)
		}
		a.mu.Unlock()
		if p == nil {
			continue // an orphan
		}
		code := status.ExitStatus()
		if status.Signaled() {
			code = 128 + int(status.Signal())
		}
		ending := wire.Ending{
			Code: code, Began: p.began, Ended: ended,
			User: time.Duration(usage.Utime.Nano()), System: time.Duration(usage.Stime.Nano()), MaxRSS: usage.Maxrss << 10,
		}
		go a.end(p, ending)
	}
}

// end says how a program ended, after all it wrote. What it left behind in the background may hold its outputs open: such
// a one is waited for a second, no longer.
func (a *agent) end(p *program, ending wire.Ending) {
	p.input.Close()
	read := make(chan struct{})
	go func() { p.outputs.Wait(); close(read) }()
	select {
	case <-read:
	case <-time.After(time.Second):
	}
	a.send(p.id, wire.Exit, ending)
}

func lookPath(name string) (string, error) {
	if name[0] == '/' {
		return name, nil
	}
	for _, dir := range []string{"/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/"} {
		if info, err := os.Stat(dir + name); err == nil && info.Mode()&0o111 != 0 {
			return dir + name, nil
		}
	}
	return "", fmt.Errorf("start %s: no such program in the guest", name)
}
