package modload

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Origin says where a setting's value comes from.
type Origin struct {
	Source Source
	// Detail is the flag as it was spelled, or what a derived value was derived from.
	Detail string
	// File and Line are set when Source is SourceFile.
	File string
	Line int
}

// Source is a kind of origin, from the lowest to the highest.
type Source int

const (
	SourceDefault     Source = iota // nobody said anything
	SourceKernel                    // the running kernel
	SourceLinked                    // linked into the binary
	SourceDerived                   // follows from another setting
	SourceFile                      // kudev.conf
	SourceCommandLine               // the kernel command line
	SourceFlag                      // this very call
	SourceRecord                    // the daemon's record
)

func (o Origin) String() string {
	switch o.Source {
	case SourceKernel:
		return "running kernel"
	case SourceLinked:
		return "linked in"
	case SourceDerived:
		return "from " + o.Detail
	case SourceFile:
		return o.File + ":" + strconv.Itoa(o.Line)
	case SourceCommandLine:
		return commandLineName
	case SourceFlag:
		return "flag " + o.Detail
	case SourceRecord:
		return "record of " + o.Detail
	}
	return "default"
}

// Setting is one setting of a [Config], as kudev config prints it.
type Setting struct {
	Name   string
	Value  string   // as it would stand in kudev.conf
	Values []string // the elements, for a setting that is a list
	Origin Origin   // of a list that was collected from several lines: the first
}

// Pattern is one word of a forbid or allow line: a module's name, an alias, or a wildcard for either.
type Pattern struct {
	Pattern string
	Origin  Origin
}

// Problem is a line that could not be used. It was skipped; the rest counts.
type Problem struct {
	File string // "kernel command line" for what stood there
	Line int    // 0 where File has no lines
	Text string
}

func (p Problem) Error() string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	return p.File + ":" + strconv.Itoa(p.Line) + ": " + p.Text
}

// kind is what a setting's value may be.
type kind int

const (
	kindWord     kind = iota // anything
	kindEnum                 // one of values
	kindDuration             // a number of seconds, or with a unit as Go writes it: 90s, 3m
	kindCount                // a whole number, 0 or more
	kindSize                 // bytes, with K, M or G behind
	kindPaths                // directories, separated by : or , or blanks; each absolute
	kindPatterns             // words, separated by , or blanks; every line counts
)

type definition struct {
	name    string
	kind    kind
	initial string
	values  []string
	fixed   bool // for the daemon's life: kept in its record, not reloaded
}

// definitions are all the settings there are, in the order in which kudev config prints them. The manual is
// kudev.conf(5).
var definitions = []definition{
	// The directories below which lib/modules/<release> is looked for, in order; the first that holds it wins.
	{name: "module_root", kind: kindPaths, initial: "/", fixed: true},
	// The kernel whose modules are meant: the running one, if nothing is said.
	{name: "release", kind: kindWord, fixed: true},
	// Where the kernel looks for firmware first: lib/firmware below the root that won, if nothing is said and that is not /.
	{name: "firmware_path", kind: kindWord, fixed: true},
	// Whether the daemon registers itself in /proc/sys/kernel/modprobe: auto does so unless that is switched off there.
	{name: "kernel_requests", kind: kindEnum, initial: "auto", values: []string{"auto", "on", "off"}},
	// Which rules count: auto takes the directories' when they hold 50-udev-default.rules, else the embedded ones below them.
	{name: "rules", kind: kindEnum, initial: "auto", values: []string{"auto", "embedded", "directories"}},
	{name: "log_level", kind: kindEnum, initial: "info", values: []string{"debug", "info", "notice", "warning", "err"}},
	// Where the daemon logs: auto is stderr, or the kernel's log where stderr leads nowhere.
	{name: "log_target", kind: kindEnum, initial: "auto", values: []string{"auto", "stderr", "kmsg"}},
	// How long one event may take, programs included.
	{name: "event_timeout", kind: kindDuration, initial: "180s"},
	// How long settle and coldplug wait, if not told otherwise.
	{name: "settle_timeout", kind: kindDuration, initial: "120s"},
	// How many events are handled, and how many modules inserted, at a time; 0 goes by the processors.
	{name: "workers", kind: kindCount, initial: "0"},
	{name: "load_workers", kind: kindCount, initial: "0"},
	// The uevent socket's buffer.
	{name: "receive_buffer", kind: kindSize, initial: "0"},
	// Modules that are never loaded, and the only ones that are; every line counts, of all sources.
	{name: "forbid", kind: kindPatterns},
	{name: "allow", kind: kindPatterns},
}

// define returns the definition of name, in which - counts as _, or nil.
func define(name string) *definition {
	name = strings.ReplaceAll(name, "-", "_")
	for i := range definitions {
		if definitions[i].name == name {
			return &definitions[i]
		}
	}
	return nil
}

// parse checks text and returns it as the setting keeps it, with the elements of a list.
func (d *definition) parse(text string) (value string, values []string, err error) {
	switch d.kind {
	case kindEnum:
		for _, v := range d.values {
			if v == text {
				return text, nil, nil
			}
		}
		return "", nil, fmt.Errorf("%s is %q: it may be %s", d.name, text, strings.Join(d.values, ", "))
	case kindDuration:
		if _, err := parseDuration(text); err != nil {
			return "", nil, fmt.Errorf("%s is %q: want seconds, or a time such as 90s or 3m", d.name, text)
		}
	case kindCount:
		if _, err := strconv.ParseUint(text, 10, 31); err != nil {
			return "", nil, fmt.Errorf("%s is %q: want a whole number, 0 or more", d.name, text)
		}
	case kindSize:
		if _, err := parseSize(text); err != nil {
			return "", nil, fmt.Errorf("%s is %q: want a number of bytes, or one with K, M or G behind", d.name, text)
		}
	case kindPaths:
		values = strings.FieldsFunc(text, func(r rune) bool { return r == ':' || r == ',' || r == ' ' || r == '\t' })
		if len(values) == 0 {
			return "", nil, fmt.Errorf("%s is empty: want a directory", d.name)
		}
		for i, v := range values {
			if !filepath.IsAbs(v) {
				return "", nil, fmt.Errorf("%s is %q: want an absolute path", d.name, v)
			}
			values[i] = filepath.Clean(v)
		}
		return strings.Join(values, ":"), values, nil
	case kindPatterns:
		values = strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
		if len(values) == 0 {
			return "", nil, fmt.Errorf("%s names nothing", d.name)
		}
		for _, v := range values {
			if _, err := filepath.Match(v, ""); err != nil {
				return "", nil, fmt.Errorf("%s: %q is no pattern: a bracket is not closed", d.name, v)
			}
		}
		return strings.Join(values, " "), values, nil
	case kindWord:
		if d.name == "release" && (text == "." || text == ".." || strings.Contains(text, "/")) {
			return "", nil, fmt.Errorf("%s is %q: want the name of a directory below lib/modules, as uname -r prints it", d.name, text)
		}
	}
	return text, nil, nil
}

func parseDuration(text string) (time.Duration, error) {
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second, nil
	}
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		err = strconv.ErrRange
	}
	return d, err
}

func parseSize(text string) (int, error) {
	shift := 0
	switch {
	case strings.HasSuffix(text, "K"):
		shift = 10
	case strings.HasSuffix(text, "M"):
		shift = 20
	case strings.HasSuffix(text, "G"):
		shift = 30
	}
	if shift > 0 {
		text = text[:len(text)-1]
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err == nil && n<<shift > 1<<30 {
		err = strconv.ErrRange
	}
	return int(n << shift), err
}

func parseLevel(text string) Level {
	switch text {
	case "debug":
		return LevelDebug
	case "notice":
		return LevelNotice
	case "warning":
		return LevelWarn
	case "err":
		return LevelError
	}
	return LevelInfo
}
