package vm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kudev/kudev/cmd/kudev/internal/vm/wire"
)

// Options say what to boot.
type Options struct {
	Debian  *Debian
	Machine Machine
	Root    *Tree  // what the guest's root holds besides the base; nil for nothing
	Append  string // more of the kernel's command line
	Scratch string // a directory for the sockets and the archive; "" for a new one, removed by Close. Its path must be short: it holds sockets
}

// Guest is a running machine. Its methods are safe for concurrent use. Close it.
type Guest struct {
	qemu    *exec.Cmd
	ended   chan struct{} // closed when QEMU is gone
	scratch string
	qmp     *QMP
	line    net.Conn
	console *tail
	stderr  *tail
	booted  time.Duration // from the kernel's start to the agent's first word

	sending sync.Mutex
	mu      sync.Mutex
	last    uint32
	running map[uint32]*Process
	lost    error // why the agent is not heard any more
}

// Boot starts a machine and returns once its PID 1 answers. It needs QEMU, and Debian's packages in the cache; an error names the command that provides
// what is missing. When the context ends, so does the machine.
func Boot(ctx context.Context, o Options) (_ *Guest, err error) {
	program, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return nil, fmt.Errorf("boot a guest: %w: run `make packages`", err)
	}
	base, err := o.Debian.base(ctx)
	if err != nil {
		return nil, fmt.Errorf("boot a guest: %w", err)
	}
	g := &Guest{ended: make(chan struct{}), console: newTail(64 << 10), stderr: newTail(8 << 10), running: map[uint32]*Process{}}
	defer func() {
		if err != nil {
			g.Close()
			err = fmt.Errorf("boot a guest: %w%s", err, g.Why())
		}
	}()
	if g.scratch = o.Scratch; g.scratch == "" {
		if g.scratch, err = os.MkdirTemp("", "kudev-vm-"); err != nil {
			return nil, err
		}
	}
	archive, err := g.archive(ctx, o.Root)
	if err != nil {
		return nil, err
	}
	agent, err := net.Listen("unix", filepath.Join(g.scratch, "agent"))
	if err != nil {
		return nil, err
	}
	defer agent.Close()
	control, err := net.Listen("unix", filepath.Join(g.scratch, "qmp"))
	if err != nil {
		return nil, err
	}
	defer control.Close()

	// QEMU takes one initrd; the kernel takes several archives in one file.
	initrd := filepath.Join(g.scratch, "initrd")
	if err := concatenate(initrd, base, archive); err != nil {
		return nil, err
	}
	args := append(o.Machine.arguments(),
		"-kernel", o.Debian.Kernel(), "-initrd", initrd,
		"-append", strings.TrimSpace("console=ttyS0 quiet loglevel=4 panic=-1 "+o.Append),
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-chardev", "socket,id=agent,path="+agent.Addr().String(), "-serial", "chardev:agent",
		"-chardev", "null,id=usbserial", "-qmp", "unix:"+control.Addr().String())
	g.qemu = exec.CommandContext(ctx, program, args...)
	g.qemu.Stdout, g.qemu.Stderr = g.console, g.stderr
	g.qemu.Stdin = nil
	killWithParent(g.qemu)
	if err := g.qemu.Start(); err != nil {
		return nil, err
	}
	go func() {
		g.qemu.Wait()
		close(g.ended)
	}()
	conn, err := g.accept(ctx, control)
	if err != nil {
		return nil, err
	}
	if g.qmp, err = newQMP(ctx, conn); err != nil {
		return nil, err
	}
	if g.line, err = g.accept(ctx, agent); err != nil {
		return nil, err
	}
	hello := make(chan wire.Time, 1)
	go g.listen(hello)
	select {
	case t := <-hello:
		g.booted = t.At
		return g, nil
	case <-g.ended:
		return nil, errors.New("QEMU ended before the guest's PID 1 answered")
	case <-ctx.Done():
		return nil, fmt.Errorf("the guest's PID 1 did not answer: %w", ctx.Err())
	}
}

// ProcessorTime is what the emulator has used of the host's processors since it was started, in steps of a hundredth of a second.
func (g *Guest) ProcessorTime() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", g.qemu.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("processor time of QEMU: %q makes no sense", text)
	}
	var total time.Duration
	for _, field := range fields[11:13] { // utime and stime; see proc(5)
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("processor time of QEMU: %w", err)
		}
		total += time.Duration(ticks) * 10 * time.Millisecond
	}
	return total, nil
}

// archive writes the guest's own archive: its tree, and the agent as /init.
func (g *Guest) archive(ctx context.Context, root *Tree) (string, error) {
	if root == nil {
		root = NewTree()
	}
	agent := filepath.Join(g.scratch, "init")
	if err := Build(ctx, agent, "github.com/kudev/kudev/cmd/kudev/internal/vm/agent"); err != nil {
		return "", err
	}
	root.Copy("/init", agent, 0o755)
	file, err := os.Create(filepath.Join(g.scratch, "root.cpio"))
	if err != nil {
		return "", err
	}
	if err := root.Write(file); err != nil {
		return "", errors.Join(err, file.Close())
	}
	return file.Name(), file.Close()
}

// BuildKudev builds the program as it is installed: with make, which alone knows the flags.
func BuildKudev(ctx context.Context, to string) error {
	mod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("build kudev: find the project: %w", err)
	}
	build := exec.CommandContext(ctx, "make", "-s", "-C", filepath.Dir(strings.TrimSpace(string(mod))), "build", "PROGRAM="+to)
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build kudev: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// Build builds another of the project's programs, static and stripped, for the guest.
func Build(ctx context.Context, to, pkg string) error {
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", to, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w: %s", pkg, err, bytes.TrimSpace(out))
	}
	return nil
}

func concatenate(to string, from ...string) error {
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	for _, name := range from {
		in, err := os.Open(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, in)
		in.Close()
		if err != nil {
			return err
		}
	}
	return out.Close()
}

// accept waits for QEMU to connect, but not for longer than it lives.
func (g *Guest) accept(ctx context.Context, l net.Listener) (net.Conn, error) {
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-g.ended:
		case <-ctx.Done():
		case <-done:
		}
		l.Close()
	}()
	conn, err := l.Accept()
	if err != nil {
		return nil, errors.New("QEMU did not start")
	}
	return conn, nil
}

// listen is the goroutine that reads what the agent says, until the line ends.
func (g *Guest) listen(hello chan<- wire.Time) {
	in := bufio.NewReaderSize(g.line, 64<<10)
	for {
		id, kind, data, err := wire.Read(in)
		if err != nil {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.lost = errors.New("the guest has ended")
			for id, p := range g.running {
				delete(g.running, id)
				p.end(wire.Ending{}, g.lost)
			}
			return
		}
		if kind == wire.Hello {
			t, _ := decode[wire.Time](data)
			hello <- t
			continue
		}
		g.mu.Lock()
		p := g.running[id]
		if kind == wire.Exit || kind == wire.Failed {
			delete(g.running, id)
		}
		g.mu.Unlock()
		if p != nil {
			p.handle(kind, data)
		}
	}
}

// QMP is the machine's other side.
func (g *Guest) QMP() *QMP { return g.qmp }

// Booted is how long the guest's kernel took to its PID 1.
func (g *Guest) Booted() time.Duration { return g.booted }

// Console returns the last of what the guest's kernel wrote, without the escape sequences of the firmware.
func (g *Guest) Console() string { return withoutEscapes(g.console.String()) }

// Why returns what explains a failure, for the end of its message: QEMU's own words and the console's last lines.
func (g *Guest) Why() string {
	var b strings.Builder
	select {
	case <-g.ended:
		fmt.Fprintf(&b, "\nQEMU: %v", g.qemu.ProcessState)
	default:
	}
	for line := range strings.Lines(g.stderr.String()) {
		if !strings.Contains(line, "has no peer") { // a network card without a cable is what we want
			fmt.Fprintf(&b, "\nQEMU: %s", strings.TrimSpace(line))
		}
	}
	if s := strings.TrimSpace(g.Console()); s != "" {
		fmt.Fprintf(&b, "\nthe guest's console:\n%s", s)
	}
	return b.String()
}

// Close ends the machine, whatever it is doing, and removes what it left on the host.
func (g *Guest) Close() error {
	if g.qemu != nil && g.qemu.Process != nil {
		g.qemu.Process.Kill()
		<-g.ended
	}
	if g.line != nil {
		g.line.Close()
	}
	if g.qmp != nil {
		g.qmp.conn.Close()
	}
	if g.scratch == "" {
		return nil
	}
	return os.RemoveAll(g.scratch)
}

// tail keeps the last bytes written to it.
type tail struct {
	mu   sync.Mutex
	max  int
	data []byte
}

func newTail(max int) *tail { return &tail{max: max} }

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, p...)
	if over := len(t.data) - t.max; over > 0 {
		t.data = append(t.data[:0], t.data[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.data)
}

// withoutEscapes removes the terminal's control sequences and carriage returns.
func withoutEscapes(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == 0x1b && i+1 < len(s) && s[i+1] == '[':
			for i += 2; i < len(s) && (s[i] < '@' || s[i] > '~'); i++ {
			}
		case s[i] == 0x1b:
			i++
		case s[i] != '\r':
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
