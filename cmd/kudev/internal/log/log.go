// Package log is the log of kudev's programs: a line a message. Its Logger has the methods of log/slog's that are used here, and
// stands in its place because log/slog links encoding/json.
package log

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/modload"
)

// A Logger writes a message as one line: a prefix, the message, the attributes as key=value. For a machine, the line
// begins with the syslog level in angle brackets, which journald, s6-log and /dev/kmsg all understand. See sd-daemon(3).
// Its methods may be called concurrently. A nil Logger says nothing.
type Logger struct {
	to    *target
	attrs string // those of With, formatted
}

// A target is what loggers share that were made from one.
type target struct {
	mu     sync.Mutex
	w      io.Writer
	level  atomic.Int64
	prefix string
	levels bool
	kmsg   bool // it is the kernel's log: with a facility, and no longer than it takes
}

// New returns a logger for a person: no levels in front.
func New(w io.Writer, level modload.Level, prefix string) *Logger {
	l := &Logger{to: &target{w: w, prefix: prefix}}
	l.SetLevel(level)
	return l
}

// SetLevel makes messages below a level not be said, by this logger and all that were made from the same.
func (l *Logger) SetLevel(level modload.Level) {
	if l != nil {
		l.to.level.Store(int64(level))
	}
}

// maxKmsg is what fits into a message of the kernel's log. Kernel: kernel/printk/printk.c, PRINTKRB_RECORD_MAX.
const maxKmsg = 976

// NewDaemon returns the logger of a process that nobody looks at: to stderr with levels in front, or to the
// kernel's log where stderr leads nowhere, as in early boot. On a terminal it is for a person all the same.
func NewDaemon(stderr io.Writer, cfg *modload.Config) *Logger {
	l := New(stderr, cfg.LogLevel(), "kudev: ")
	f, isFile := stderr.(*os.File)
	where := cfg.LogTarget()
	if where == "auto" && isFile && leadsNowhere(f) || where == "kmsg" {
		if k, err := os.OpenFile(cfg.Path("/dev/kmsg"), os.O_WRONLY, 0); err == nil {
			l.to.w, l.to.kmsg = k, true
			return l
		}
	}
	l.to.levels = !isFile || !isTerminal(f)
	if l.to.levels {
		l.to.prefix = "" // whoever takes levels knows who writes
	}
	if isFile {
		l.to.w = &patientWriter{f: f}
	}
	return l
}

// patientWriter writes to a file that somebody may have ceased to read, as a logger whose disk is full: what has not been taken after a
// second is dropped, and so is what follows at once, until there is room; then it says how many lines that were. Devices do not wait
// for a log.
type patientWriter struct {
	f       *os.File
	dropped int
	cut     bool // in the middle of a line
}

func (p *patientWriter) Write(b []byte) (int, error) {
	wait := time.Second
	if p.dropped > 0 {
		wait = 0
	}
	var text []byte
	if p.cut {
		text = append(text, '\n')
	}
	if p.dropped > 0 {
		text = fmt.Appendf(text, "<4>%d lines were not logged: nobody read them\n", p.dropped)
	}
	text = append(text, b...)
	const pipe = 4096 // PIPE_BUF: where there is room at all there is for so much
	for at := 0; at < len(text); {
		if !writable(p.f, wait) {
			p.dropped++
			p.cut = p.cut || at > 0
			return len(b), nil
		}
		n, err := p.f.Write(text[at:min(at+pipe, len(text))])
		if at += n; err != nil {
			return 0, err
		}
	}
	p.dropped, p.cut = 0, false
	return len(b), nil
}

// writable waits until a file takes more, or has nobody any more who could.
func writable(f *os.File, wait time.Duration) bool {
	fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLOUT}}
	for {
		n, err := unix.Poll(fds, int(wait/time.Millisecond))
		if err != unix.EINTR {
			return n > 0 || err != nil // a file that cannot be polled is one that does not block
		}
	}
}

// leadsNowhere reports whether f is closed, /dev/null, or the console that early boot has: what is written there is lost.
func leadsNowhere(f *os.File) bool {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return true
	}
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && (st.Rdev == unix.Mkdev(1, 3) || st.Rdev == unix.Mkdev(5, 1))
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func (l *Logger) Debug(message string, args ...any) { l.say(modload.LevelDebug, message, args) }
func (l *Logger) Info(message string, args ...any)  { l.say(modload.LevelInfo, message, args) }
func (l *Logger) Warn(message string, args ...any)  { l.say(modload.LevelWarn, message, args) }
func (l *Logger) Error(message string, args ...any) { l.say(modload.LevelError, message, args) }

// With returns a logger that adds attributes to each message.
func (l *Logger) With(args ...any) *Logger {
	if l == nil {
		return nil
	}
	return &Logger{l.to, l.attrs + Attributes(args)}
}

func (l *Logger) say(level modload.Level, message string, args []any) {
	if l == nil || int64(level) < l.to.level.Load() {
		return
	}
	var b bytes.Buffer
	switch {
	case l.to.kmsg:
		const daemon = 3 << 3 // the facility
		fmt.Fprintf(&b, "<%d>", daemon|Syslog(level))
	case l.to.levels:
		fmt.Fprintf(&b, "<%d>", Syslog(level))
	}
	b.WriteString(l.to.prefix)
	b.WriteString(oneLine(message))
	b.WriteString(l.attrs)
	b.WriteString(Attributes(args))
	if l.to.kmsg && b.Len() > maxKmsg {
		b.Truncate(maxKmsg)
	}
	b.WriteByte('\n')
	l.to.mu.Lock()
	defer l.to.mu.Unlock()
	_, _ = l.to.w.Write(b.Bytes()) // in one piece: a write to /dev/kmsg is one message. Nobody could be told of an error
}

// oneLine is a message without what would forge another, or speak to the terminal: it may name what a device said of itself.
func oneLine(message string) string {
	if !strings.ContainsFunc(message, isControl) {
		return message
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case isControl(r):
			return '?'
		}
		return r
	}, message)
}

func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }

// Attributes formats keys and values: a blank, the key, =, the value, in quotes where it has to be.
func Attributes(args []any) string {
	var b strings.Builder
	for i := 0; i+1 < len(args); i += 2 {
		text := fmt.Sprint(args[i+1])
		if text == "" || strings.ContainsAny(text, " \"=") || strings.ContainsFunc(text, isControl) {
			text = strconv.Quote(text)
		}
		fmt.Fprintf(&b, " %v=%s", args[i], text)
	}
	return b.String()
}

// Syslog returns the number that syslog has for a level. See syslog(3).
func Syslog(level modload.Level) int {
	switch {
	case level >= modload.LevelError:
		return 3
	case level >= modload.LevelWarn:
		return 4
	case level >= modload.LevelNotice:
		return 5
	case level >= modload.LevelInfo:
		return 6
	}
	return 7
}
