package hotplug

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Runner runs the programs that rules ask for. The zero value works. Methods may be called by any goroutine.
type Runner struct {
	Dirs    []string      // where a program without '/' in front is looked for; nil means /usr/lib/udev and /lib/udev
	Timeout time.Duration // of one program, 0 means 180 s
	Output  int           // how much of what it prints is kept, in bytes; 0 means 16383, as udev keeps

	// Cgroup is where each program gets a cgroup of its own, so that all that it starts can be killed; nil for nowhere: then a
	// process that left the program's group, as setsid does, is not found.
	Cgroup *Cgroup

	// Slow is told of a program that has run for a third of Timeout.
	Slow func(p Program, took time.Duration)
}

// Program is one call of a program.
type Program struct {
	Line string   // as in a rule: the program and its arguments, see [SplitCommand]
	Env  []string // the whole environment, each "KEY=value"
	Rule string   // file:line of the rule that asked, for messages
}

// Output is what a program printed, bounded.
type Output struct {
	Stdout, Stderr string
	Cut            bool // Stdout was longer
	Took           time.Duration
}

// ProgramError says how a program failed. It unwraps to its cause: an *exec.ExitError, context.DeadlineExceeded, or why
// it could not be started.
type ProgramError struct {
	Line, Rule string
	Stderr     string // the first line of it
	Err        error
}

func (e *ProgramError) Error() string {
	text := fmt.Sprintf("program %q", e.Line)
	if e.Rule != "" {
		text += " of " + e.Rule
	}
	text += ": " + e.Err.Error()
	if e.Stderr != "" {
		text += ": " + e.Stderr
	}
	return text
}

func (e *ProgramError) Unwrap() error { return e.Err }

// Status returns the exit status of a program, and whether err says one.
func Status(err error) (int, bool) {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), true
	}
	return 0, false
}

const (
	stderrKept = 4 << 10
	flood      = 64 << 20 // who prints more than this is stopped: see errFlood
)

var errFlood = errors.New("stopped: it printed more than 64 MiB")

// Run runs a program without a shell, in a process group of its own, with /dev/null as its input and / as its directory.
// When it has ended, and when its time or the context is over, all that is left of the group is killed, and of its cgroup where
// it has one: a rule starts no daemons (see udev(7)). A status other than 0 is an error, *ProgramError; the output is returned in any case.
func (r *Runner) Run(ctx context.Context, p Program) (out Output, err error) {
	begin := time.Now()
	defer func() {
		out.Took = time.Since(begin)
		if err != nil {
			first, _, _ := strings.Cut(strings.TrimSpace(out.Stderr), "\n")
			err = &ProgramError{p.Line, p.Rule, first, err}
		}
	}()
	timeout, kept := r.Timeout, r.Output
	if timeout <= 0 {
		timeout = 180 * time.Second
	}
	if kept <= 0 {
		kept = 16383
	}
	argv := SplitCommand(p.Line)
	if len(argv) == 0 || argv[0] == "" {
		return out, errors.New("no program is named")
	}
	path, err := r.find(argv[0])
	if err != nil {
		return out, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("killed after %v: %w", timeout, context.DeadlineExceeded))
	defer cancel()
	if err := ctx.Err(); err != nil {
		return out, context.Cause(ctx)
	}
	if r.Slow != nil {
		slow := time.AfterFunc(timeout/3, func() { r.Slow(p, time.Since(begin)) })
		defer slow.Stop()
	}

	stdout, err := newCapture(kept)
	if err != nil {
		return out, err
	}
	stderr, err := newCapture(stderrKept)
	if err != nil {
		stdout.abandon()
		return out, err
	}
	cmd, box, err := r.start(path, argv, p.Env, stdout.w, stderr.w)
	if err != nil {
		stdout.abandon()
		stderr.abandon()
		return out, err
	}
	pid := cmd.Process.Pid
	kill := func() {
		_ = unix.Kill(-pid, unix.SIGKILL) // while the process is not reaped its group is its own
		if box != nil {
			box.kill()
		}
	}
	if box != nil {
		defer box.close()
	}
	flooded := make(chan struct{}, 2)
	go stdout.read(flooded)
	go stderr.read(flooded)
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
		}
	}()
	var stopped error
	select {
	case <-exited:
	case <-ctx.Done():
		stopped = context.Cause(ctx)
	case <-flooded:
		stopped = errFlood
	}
	kill()
	<-exited
	kill() // what it forked while it was killed
	err = cmd.Wait()
	out.Stdout, out.Cut = stdout.end()
	out.Stderr, _ = stderr.end()
	if stopped != nil {
		return out, stopped
	}
	return out, err
}

// start starts a program, in a cgroup of its own where that can be had: an old kernel or a filter of system calls may refuse it.
func (r *Runner) start(path string, argv, env []string, stdout, stderr *os.File) (*exec.Cmd, *cage, error) {
	if env == nil {
		env = []string{}
	}
	start := func(attr syscall.SysProcAttr) (*exec.Cmd, error) {
		attr.Setpgid = true
		cmd := &exec.Cmd{Path: path, Args: argv, Env: env, Dir: "/", Stdout: stdout, Stderr: stderr, SysProcAttr: &attr}
		return cmd, cmd.Start()
	}
	if r.Cgroup != nil {
		if box, err := r.Cgroup.newCage(); err == nil {
			if cmd, err := start(syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: box.fd}); err == nil {
				return cmd, box, nil
			}
			box.close()
		}
	}
	cmd, err := start(syscall.SysProcAttr{})
	return cmd, nil, err
}

// find looks a program up.
func (r *Runner) find(name string) (string, error) {
	if strings.HasPrefix(name, "/") {
		return name, nil
	}
	dirs := r.Dirs
	if dirs == nil {
		dirs = []string{"/usr/lib/udev", "/lib/udev"}
	}
	for _, dir := range dirs {
		if info, err := os.Stat(dir + "/" + name); err == nil && !info.IsDir() {
			return dir + "/" + name, nil
		}
	}
	return "", fmt.Errorf("not in %s: %w", strings.Join(dirs, ", "), fs.ErrNotExist)
}

// capture keeps the beginning of what is written into a pipe.
type capture struct {
	r, w *os.File
	kept int
	buf  bytes.Buffer
	cut  bool
	done chan struct{}
}

func newCapture(kept int) (*capture, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &capture{r: r, w: w, kept: kept, done: make(chan struct{})}, nil
}

func (c *capture) abandon() { c.r.Close(); c.w.Close() }

// read reads until nobody can write any more, or end sets a time.
func (c *capture) read(flooded chan<- struct{}) {
	defer close(c.done)
	c.w.Close() // the program has its own
	var chunk [4096]byte
	total := 0
	for {
		n, err := c.r.Read(chunk[:])
		c.keep(chunk[:n])
		if total += n; total > flood {
			flooded <- struct{}{}
			_, _ = io.Copy(io.Discard, c.r)
			return
		}
		if err != nil {
			return
		}
	}
}

func (c *capture) keep(b []byte) {
	if room := c.kept - c.buf.Len(); len(b) > room {
		b, c.cut = b[:room], true
	}
	c.buf.Write(b)
}

// end returns what was kept. The program has ended; a process that has left its group may hold the pipe still, and is
// not waited for.
func (c *capture) end() (string, bool) {
	_ = c.r.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	<-c.done
	_ = c.r.SetReadDeadline(time.Time{})
	if raw, err := c.r.SyscallConn(); err == nil { // what was in the pipe and not yet read
		var chunk [4096]byte
		_ = raw.Read(func(fd uintptr) bool {
			for c.buf.Len() < c.kept {
				n, err := unix.Read(int(fd), chunk[:])
				if n <= 0 || err != nil {
					break
				}
				c.keep(chunk[:n])
			}
			return true
		})
	}
	c.r.Close()
	return c.buf.String(), c.cut
}

// SplitCommand splits a command line as udev does: at blanks, but for those between quotes, single or double. A
// backslash means itself. A quote that is not closed reaches to the end.
func SplitCommand(line string) []string {
	var words []string
	var word []byte
	in, quote := false, byte(0)
	for i := range len(line) {
		switch c := line[i]; {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word = append(word, c)
		case c == '"' || c == '\'':
			quote, in = c, true
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			if in {
				words = append(words, string(word))
			}
			word, in = word[:0], false
		default:
			word, in = append(word, c), true
		}
	}
	if in {
		words = append(words, string(word))
	}
	return words
}
