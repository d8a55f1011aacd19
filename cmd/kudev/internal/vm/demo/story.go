package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/kudev/kudev/cmd/kudev/internal/daemon"
)

// story tells what the daemon did, one line for each event that led to something, as the daemon's journal comes in, and
// remembers it for the summary. It is written to by the goroutine that reads the guest, and read when that is done.
type story struct {
	out   io.Writer
	paint paint
	width int // of the terminal; 0 for lines of any length

	mu      sync.Mutex
	partial []byte
	events  []daemon.Entry
	loaded  map[string]bool // modules that were shown
	seen    chan struct{}   // holds something when an event has come since it was last read
}

func newStory(out io.Writer, colour bool, width int) *story {
	return &story{out: out, paint: paint(colour), width: width, seen: make(chan struct{}, 1), loaded: map[string]bool{}}
}

// Write takes the journal as it comes over the line: JSON, one event a line.
func (s *story) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partial = append(s.partial, p...)
	for {
		i := slices.Index(s.partial, '\n')
		if i < 0 {
			return len(p), nil
		}
		var e daemon.Entry
		if err := json.Unmarshal(s.partial[:i], &e); err != nil {
			fmt.Fprintf(s.out, "%s\n", s.partial[:i])
		} else {
			s.events = append(s.events, e)
			s.tell(e)
			select {
			case s.seen <- struct{}{}:
			default:
			}
		}
		s.partial = append(s.partial[:0], s.partial[i+1:]...)
	}
}

// find returns the first event after the skipped ones for which the function says so.
func (s *story) find(skip int, wanted func(daemon.Entry) bool) (daemon.Entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events[skip:] {
		if wanted(e) {
			return e, true
		}
	}
	return daemon.Entry{}, false
}

func (s *story) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.events)
}

func (s *story) all() []daemon.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// tell prints one entry: when, what, the rule that asked for modules, those, and the node and links. Most of a machine's
// devices want nothing and get no line.
func (s *story) tell(e daemon.Entry) {
	if e.Type == "note" {
		fmt.Fprintln(s.out, cut(s.paint.dim("%9.3f", e.Finished.Duration().Seconds())+" "+s.paint.yellow("%s", e.Note), s.width))
		return
	}
	loads := s.newModules(e)
	card := e.Subsystem == "net" && (e.Action == "add" || e.Action == "remove") && !strings.Contains(e.Devpath, "/virtual/")
	if len(loads) == 0 && len(e.Links) == 0 && len(e.Unlinked) == 0 && e.Name == "" && e.Error == "" && !card {
		return
	}
	var b strings.Builder
	b.WriteString(s.paint.dim("%9.3f", e.Finished.Duration().Seconds()) + " " + s.action(e.Action) + " " + s.paint.bold("%-24s", e.Subsystem+" "+path.Base(e.Devpath)))
	if len(loads) > 0 {
		if rule := ruleOf(e); rule != "" {
			b.WriteString(s.paint.dim(" %s", rule))
		}
		for _, m := range loads {
			b.WriteString(" → " + s.module(m))
		}
	}
	if e.Name != "" {
		b.WriteString(" → " + s.paint.cyan("%s", e.Name))
	}
	if e.Node != nil {
		b.WriteString(" " + s.paint.cyan("%s", e.Node.Path))
	}
	s.links(&b, " ←", e.Links)
	s.links(&b, " no longer", e.Unlinked)
	if e.Error != "" {
		b.WriteString(" " + s.paint.red("%s", e.Error))
	}
	fmt.Fprintln(s.out, cut(b.String(), s.width))
}

// links appends the first two names and how many more there are; those that are of interest to a person come first.
func (s *story) links(b *strings.Builder, word string, names []string) {
	if len(names) == 0 {
		return
	}
	names = slices.Clone(names)
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(dullness(a), dullness(b)) })
	more := max(0, len(names)-2)
	b.WriteString(s.paint.dim("%s %s", word, strings.Join(names[:len(names)-more], " ")))
	if more > 0 {
		b.WriteString(s.paint.dim(" +%d", more))
	}
}

func dullness(link string) int {
	switch {
	case strings.Contains(link, "/by-id/"):
		return 0
	case strings.HasPrefix(link, "block/") || strings.HasPrefix(link, "char/"):
		return 2
	}
	return 1
}

// newModules returns the modules that this event put into the kernel, or failed to. Events that asked for the same one share its
// load: the first that ends shows it.
func (s *story) newModules(e daemon.Entry) []daemon.Module {
	var list []daemon.Module
	for _, m := range e.Modules {
		if m.State == "loaded" && !s.loaded[m.Name] || m.State == "failed" || m.State == "forbidden" {
			s.loaded[m.Name] = true
			list = append(list, m)
		}
	}
	return list
}

// ruleOf returns the rule that asked for the event's modules.
func ruleOf(e daemon.Entry) string {
	for _, r := range e.Rules {
		if strings.Contains(r.Did, "kmod") {
			return path.Base(r.Rule)
		}
	}
	return ""
}

func (s *story) action(a string) string {
	switch a {
	case "add", "bind":
		return s.paint.green("%-6s", a)
	case "remove", "unbind":
		return s.paint.red("%-6s", a)
	}
	return s.paint.yellow("%-6s", a)
}

func (s *story) module(m daemon.Module) string {
	switch {
	case m.Error != "":
		return s.paint.red("%s: %s", m.Name, m.Error)
	case m.Took.Duration() >= time.Millisecond:
		return s.paint.green("%s", m.Name) + s.paint.dim(" %dms", m.Took.Duration().Milliseconds())
	}
	return s.paint.green("%s", m.Name)
}

// daemonLog is where the daemon's own words go: what is worth a warning is shown, since it would reach the system's log.
type daemonLog struct{ *story }

func (l daemonLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(string(p)) {
		line = strings.TrimSuffix(line, "\n")
		if level, text, ok := strings.Cut(line, ">"); ok && len(level) == 2 && level[0] == '<' {
			if level[1] > '4' {
				continue
			}
			line = text
		}
		fmt.Fprintln(l.out, cut("          "+l.paint.yellow("kudev daemon: %s", line), l.width))
	}
	return len(p), nil
}

// heading prints a line that begins a part of the demonstration.
func (s *story) heading(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, "\n%s\n", s.paint.bold("── "+format, args...))
}

// say prints a line that is no event.
func (s *story) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, "   "+format+"\n", args...)
}

// paint colours text where that is wanted.
type paint bool

func (p paint) with(code, format string, args ...any) string {
	s := fmt.Sprintf(format, args...)
	if !p {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p paint) bold(format string, args ...any) string   { return p.with("1", format, args...) }
func (p paint) dim(format string, args ...any) string    { return p.with("2", format, args...) }
func (p paint) red(format string, args ...any) string    { return p.with("31", format, args...) }
func (p paint) green(format string, args ...any) string  { return p.with("32", format, args...) }
func (p paint) yellow(format string, args ...any) string { return p.with("33", format, args...) }
func (p paint) cyan(format string, args ...any) string   { return p.with("36", format, args...) }

// cut shortens a line to the terminal's width; control sequences take no room.
func cut(line string, width int) string {
	if width <= 0 {
		return line
	}
	shown, i := 0, 0
	for i < len(line) {
		if line[i] == 0x1b {
			if end := strings.IndexByte(line[i:], 'm'); end >= 0 {
				i += end + 1
				continue
			}
		}
		if shown == width-1 {
			return line[:i] + "\x1b[0m…"
		}
		_, n := utf8.DecodeRuneInString(line[i:])
		i += n
		shown++
	}
	return line
}
