package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/modload"
)

// logHandler writes a record as one line: a prefix, the message, the attributes as key=value. With levels, the line
// begins with the syslog level in angle brackets, which journald, s6-log and /dev/kmsg all understand. See sd-daemon(3).
type logHandler struct {
	out    *lockedWriter
	level  slog.Leveler
	prefix string
	levels bool
	kmsg   bool   // it is the kernel's log: with a facility, and no longer than it takes
	attrs  string // those of With, formatted
	group  string // of WithGroup, with a dot behind
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// newLogHandler returns a handler for a person: no levels in front.
func newLogHandler(w io.Writer, level slog.Leveler, prefix string) *logHandler {
	return &logHandler{out: &lockedWriter{w: w}, level: level, prefix: prefix}
}

// maxKmsg is what fits into a message of the kernel's log. Kernel: kernel/printk/printk.c, PRINTKRB_RECORD_MAX.
const maxKmsg = 976

// newDaemonLogHandler returns the handler of a process that nobody looks at: to stderr with levels in front, or to the
// kernel's log where stderr leads nowhere, as in early boot. On a terminal it is for a person all the same.
func newDaemonLogHandler(stderr io.Writer, cfg *modload.Config, level slog.Leveler) *logHandler {
	h := newLogHandler(stderr, level, "kudev: ")
	f, isFile := stderr.(*os.File)
	target := cfg.LogTarget()
	if target == "auto" && isFile && leadsNowhere(f) || target == "kmsg" {
		if k, err := os.OpenFile(cfg.Path("/dev/kmsg"), os.O_WRONLY, 0); err == nil {
			h.out.w, h.kmsg = k, true
			return h
		}
	}
	h.levels = !isFile || !isTerminal(f)
	if h.levels {
		h.prefix = "" // whoever takes levels knows who writes
	}
	if isFile {
		h.out.w = &patientWriter{f: f}
	}
	return h
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

func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	var b bytes.Buffer
	switch {
	case h.kmsg:
		const daemon = 3 << 3 // the facility
		fmt.Fprintf(&b, "<%d>", daemon|syslogLevel(r.Level))
	case h.levels:
		fmt.Fprintf(&b, "<%d>", syslogLevel(r.Level))
	}
	b.WriteString(h.prefix)
	b.WriteString(strings.ReplaceAll(r.Message, "\n", " "))
	b.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		writeAttr(&b, h.group, a)
		return true
	})
	if h.kmsg && b.Len() > maxKmsg {
		b.Truncate(maxKmsg)
	}
	b.WriteByte('\n')
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	_, err := h.out.w.Write(b.Bytes()) // in one piece: a write to /dev/kmsg is one message
	return err
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var b bytes.Buffer
	for _, a := range attrs {
		writeAttr(&b, h.group, a)
	}
	other := *h
	other.attrs += b.String()
	return &other
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	other := *h
	if name != "" {
		other.group += name + "."
	}
	return &other
}

func writeAttr(b *bytes.Buffer, group string, a slog.Attr) {
	v := a.Value.Resolve()
	if a.Equal(slog.Attr{}) {
		return
	}
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, inner := range v.Group() {
			writeAttr(b, group, inner)
		}
		return
	}
	text := v.String()
	if text == "" || strings.ContainsAny(text, " \t\n\"=") {
		text = strconv.Quote(text)
	}
	fmt.Fprintf(b, " %s%s=%s", group, a.Key, text)
}

// syslogLevel returns the number that syslog has for a level. See syslog(3).
func syslogLevel(level slog.Level) int {
	switch {
	case level >= slog.LevelError:
		return 3
	case level >= slog.LevelWarn:
		return 4
	case level >= modload.LevelNotice:
		return 5
	case level >= slog.LevelInfo:
		return 6
	}
	return 7
}
