package modload

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// RunDir is where the daemon keeps its lock, its record and the link that the kernel calls.
const RunDir = "/run/kudev"

// record is what the daemon writes down for every other kudev process: the settings that are fixed for its life, and
// what stood in the kernel before any kudev came. Format: a text in /run/kudev/record, replaced by a rename; see
// [parseRecord].
type record struct {
	Pid      int
	Settings []recordSetting
	Tree     string
	Before   map[string]taken // by the kernel's file
}

// recordSetting is one setting: as the daemon has it, and as it would have it without its flags.
type recordSetting struct {
	Name     string
	Value    string
	Values   []string
	Origin   string
	Implicit *recordImplicit // nil where the daemon had no flag for it
}

type recordImplicit struct {
	Value  string
	Origin string
}

// taken is a file of the kernel that the daemon wrote to.
type taken struct {
	Ours   string // what it wrote
	Theirs string // what stood there before any kudev
}

func (r *record) setting(name string) *recordSetting {
	for i := range r.Settings {
		if r.Settings[i].Name == name {
			return &r.Settings[i]
		}
	}
	return nil
}

// readRecord reads the record of whoever wrote it last, alive or not. It returns nil without an error when there is none.
func readRecord(o *Options) (*record, error) {
	name := filepath.Join(RunDir, "record")
	data, err := readFile(o.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r, err := parseRecord(string(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

// write replaces the record. Only the holder of the lock calls it.
func (r *record) write(o *Options) error {
	name := o.path(filepath.Join(RunDir, "record"))
	if err := os.WriteFile(name+".new", []byte(r.text()), 0o644); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// recordVersion begins a record. It counts up whenever an older kudev could not read it rightly.
const recordVersion = "version 2"

// text is the record as it is written, one fact a line: a word, and strings in Go's double quotes.
//
//	version 2
//	pid 314
//	tree "/run/booted-system/lib/modules/6.1.0-18-amd64"
//	setting module_root "/run/booted-system" "flag --module-root"
//	values module_root "/run/booted-system"
//	implicit module_root "/" "default"
//	before "/proc/sys/kernel/modprobe" "/run/kudev/modprobe" "/sbin/modprobe"
func (r *record) text() string {
	var b strings.Builder
	line := func(word string, values ...string) {
		b.WriteString(word)
		for _, v := range values {
			b.WriteByte(' ')
			b.WriteString(strconv.Quote(v))
		}
		b.WriteByte('\n')
	}
	line(recordVersion)
	line("pid " + strconv.Itoa(r.Pid))
	line("tree", r.Tree)
	for _, s := range r.Settings {
		line("setting "+s.Name, s.Value, s.Origin)
		if len(s.Values) > 0 {
			line("values "+s.Name, s.Values...)
		}
		if s.Implicit != nil {
			line("implicit "+s.Name, s.Implicit.Value, s.Implicit.Origin)
		}
	}
	var files []string
	for file := range r.Before {
		files = append(files, file)
	}
	slices.Sort(files)
	for _, file := range files {
		line("before", file, r.Before[file].Ours, r.Before[file].Theirs)
	}
	return b.String()
}

// parseRecord reads what [record.text] has written. An error says which line it cannot be.
func parseRecord(text string) (*record, error) {
	first, rest, _ := strings.Cut(text, "\n")
	if first != recordVersion {
		return nil, fmt.Errorf("written by another version of kudev: it begins with %.20q, not with %q", first, recordVersion)
	}
	r := &record{}
	number := 1
	for line := range strings.Lines(rest) {
		number++
		if err := r.add(strings.TrimSuffix(line, "\n")); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	if r.Pid <= 0 {
		return nil, errors.New("no pid")
	}
	return r, nil
}

// add takes one line.
func (r *record) add(line string) error {
	words, bare, err := splitRecord(line)
	if err != nil {
		return err
	}
	word, name, _ := strings.Cut(bare, " ")
	shape := func(n int, named bool) bool { return (n < 0 || len(words) == n) && (name != "") == named }
	s := r.setting(name)
	switch {
	case word == "pid" && shape(0, true):
		if r.Pid, err = strconv.Atoi(name); err != nil || r.Pid <= 0 {
			return fmt.Errorf("%.20q is no process", name)
		}
	case word == "tree" && shape(1, false):
		r.Tree = words[0]
	case word == "setting" && shape(2, true) && s == nil:
		r.Settings = append(r.Settings, recordSetting{Name: name, Value: words[0], Origin: words[1]})
	case word == "values" && shape(-1, true) && s != nil:
		s.Values = words
	case word == "implicit" && shape(2, true) && s != nil:
		s.Implicit = &recordImplicit{words[0], words[1]}
	case word == "before" && shape(3, false):
		if r.Before == nil {
			r.Before = map[string]taken{}
		}
		r.Before[words[0]] = taken{words[1], words[2]}
	default:
		return fmt.Errorf("not a line of a record: %.60q", line)
	}
	return nil
}

// splitRecord splits a line into what stands before its first quote and its strings.
func splitRecord(line string) (words []string, bare string, err error) {
	bare, _, _ = strings.Cut(line, ` "`)
	for rest := line[len(bare):]; rest != ""; {
		quoted, err := strconv.QuotedPrefix(strings.TrimPrefix(rest, " "))
		if err != nil || rest[:2] != ` "` {
			return nil, "", fmt.Errorf("not a string in quotes: %.60q", rest)
		}
		word, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, "", err
		}
		words = append(words, word)
		rest = rest[1+len(quoted):]
	}
	return words, bare, nil
}

// newRecord describes c for this process.
func (c *Config) newRecord() *record {
	r := &record{Pid: os.Getpid(), Tree: c.tree}
	for _, d := range definitions {
		if !d.fixed {
			continue
		}
		s := c.setting(d.name)
		entry := recordSetting{Name: s.Name, Value: s.Value, Values: s.Values, Origin: s.Origin.String()}
		if s.Origin.Source == SourceFlag {
			if i := c.implicit[s.Name]; i.Name != "" {
				entry.Implicit = &recordImplicit{i.Value, i.Origin.String()}
			}
		}
		r.Settings = append(r.Settings, entry)
	}
	return r
}

// Conflict is a setting for which this process, of itself, has another value than the daemon.
type Conflict struct {
	Setting string
	Ours    Setting
	Theirs  string // the daemon's value
	Origin  string // and where the daemon has it from
	Pid     int    // of the daemon
}

func (c *Conflict) Error() string {
	return fmt.Sprintf("%s is %s here (%s) and %s in the running daemon (%s, pid %d): restart the daemon, or say with --%s which one is meant",
		c.Setting, orNone(c.Ours.Value), c.Ours.Origin, orNone(c.Theirs), c.Origin, c.Pid, strings.ReplaceAll(c.Setting, "_", "-"))
}

func orNone(value string) string {
	if value == "" {
		return "empty"
	}
	return value
}

// follow takes the fixed settings from the daemon's record. What a flag of this call says stays, and is noted where it
// differs; what this process would have of itself and the daemon has not is a conflict.
func (c *Config) follow(r *record) {
	for _, d := range definitions {
		theirs := r.setting(d.name)
		if !d.fixed || theirs == nil {
			continue
		}
		ours := c.setting(d.name)
		if ours.Origin.Source == SourceFlag {
			if ours.Value != theirs.Value {
				c.overrides = append(c.overrides, fmt.Sprintf("%s %s is obeyed; the daemon (pid %d) has %s (%s)",
					ours.Origin.Detail, ours.Value, r.Pid, orNone(theirs.Value), theirs.Origin))
			}
			continue
		}
		if ours.Value != theirs.Value && c.differs(ours, theirs) {
			c.conflicts = append(c.conflicts, &Conflict{d.name, *ours, theirs.Value, theirs.Origin, r.Pid})
		}
		values := slices.Clone(theirs.Values)
		origin := Origin{Source: SourceRecord, Detail: "daemon " + strconv.Itoa(r.Pid) + ": " + theirs.Origin}
		*ours = Setting{Name: d.name, Value: theirs.Value, Values: values, Origin: origin}
	}
}

// differs reports whether a value of ours that is not the daemon's is a disagreement. It is none where nobody told us
// anything: neither now, nor when the daemon, which had a flag, was started.
func (c *Config) differs(ours *Setting, theirs *recordSetting) bool {
	if ours.Origin.Source > SourceKernel && ours.Origin.Source != SourceDerived {
		return true
	}
	if ours.Name == "firmware_path" { // nothing said, and derived from the root
		return false
	}
	return theirs.Implicit == nil || theirs.Implicit.Value != ours.Value
}

// Conflict returns what this process has otherwise than the running daemon without having been told so in this call, or
// nil. A command that touches the running kernel refuses to run then; a command that only reads goes by the record.
func (c *Config) Conflict() error {
	errs := make([]error, len(c.conflicts))
	for i, conflict := range c.conflicts {
		errs[i] = conflict
	}
	return errors.Join(errs...)
}

// Overrides returns a sentence for each flag of this call that differs from the running daemon's setting.
func (c *Config) Overrides() []string { return slices.Clone(c.overrides) }

// Daemon returns the process that the fixed settings were taken from, 0 when no daemon runs.
func (c *Config) Daemon() int { return c.daemon }
