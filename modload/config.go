package modload

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Config is where modules live and how they are to be treated: the one object from which everything else takes it. It
// is resolved once, by [Resolve], and never changes: any number of goroutines may use it.
type Config struct {
	options  Options
	settings []Setting
	forbid   []Pattern
	allow    []Pattern
	problems []Problem
	cmdline  string
	tree     string // the directory that won, or ""
	root     string // the root that it lies in

	implicit  map[string]Setting // of a setting that a flag names: what it would be without
	daemon    int                // whose record was followed, or 0
	conflicts []*Conflict
	overrides []string
}

// Options are the sources of a [Config]. The zero value is the running machine without any flag.
type Options struct {
	// Flags are what this call was told, in order. They go over every other source.
	Flags []Flag

	// LinkedRoot is the value of module_root that was linked into the program, or "".
	LinkedRoot string

	// SystemRoot is a directory that stands for / wherever the machine is read: /etc, /proc, /sys, /run and the module
	// roots. Empty means /. A path that lies in it already is taken as it is. It is for tests.
	SystemRoot string

	// Uname returns the release of the running kernel. Nil asks the kernel.
	Uname func() (string, error)

	// Daemon is set by a process that is to be the daemon: it follows nobody's record, and finds another daemon when it
	// makes its claim.
	Daemon bool

	// KernelRequest is set where the kernel itself is calling. The record is then followed whatever other sources say,
	// and even when the daemon that wrote it has died: its tree is the right one until another daemon comes.
	KernelRequest bool
}

// Flag is one setting given by a flag.
type Flag struct {
	Setting string // "module_root"
	Value   string // taken as it is: a module_root is one directory
	Name    string // as the user spelled it: "--module-root", "-d"
}

// ConfigFile is the file that [Resolve] reads.
const ConfigFile = "/etc/kudev/kudev.conf"

// Resolve builds the configuration from its sources: the flags, then kudev.* on the kernel command line, then
// /etc/kudev/kudev.conf, then the value linked in, then the default. A setting comes whole from the highest source that
// names it; only forbid and allow are collected from all. The environment is not among them. What udev has of these
// settings counts just below kudev's own: udev.conf below kudev.conf, udev.* on the command line below kudev.*.
//
// While a daemon runs, the module roots, the release and the firmware path are taken from its record: see
// [Config.Conflict] and [Config.Overrides].
//
// A line that cannot be used is in [Config.Problems], and a tree that is not there leaves [Config.Tree] empty: the error
// is for flags that make no sense and for a kernel that does not tell its release.
func Resolve(options Options) (*Config, error) {
	c, err := readSources(options)
	if err != nil {
		return nil, err
	}
	for _, f := range options.Flags {
		if err := c.setFlag(f); err != nil {
			return nil, err
		}
	}
	var r *record
	if !options.Daemon {
		r, err = liveRecord(&c.options)
	}
	if err == nil && r == nil && options.KernelRequest {
		r, err = lastRecord(&c.options)
	}
	if err != nil {
		c.problems = append(c.problems, Problem{File: RunDir, Text: err.Error()})
	}
	if r != nil {
		c.daemon = r.Pid
		c.follow(r)
	}
	c.findTree()
	if c.setting("firmware_path").Origin.Source <= SourceDerived {
		c.deriveFirmwarePath()
	}
	return c, nil
}

// readSources reads all sources but the flags and the record.
func readSources(options Options) (*Config, error) {
	c := &Config{options: options, implicit: map[string]Setting{}}
	if c.options.Uname == nil {
		c.options.Uname = func() (string, error) {
			release, _, err := uname()
			return release, err
		}
	}
	for _, d := range definitions {
		s := Setting{Name: d.name, Value: d.initial}
		if d.kind == kindPaths {
			s.Values = []string{d.initial}
		}
		c.settings = append(c.settings, s)
	}
	if options.LinkedRoot != "" {
		if err := c.set("module_root", options.LinkedRoot, Origin{Source: SourceLinked}); err != nil {
			return nil, fmt.Errorf("value linked in: %w", err)
		}
	}
	c.readUdevFile()
	c.readFile()
	c.readCommandLine()
	if c.Release() == "" {
		release, err := c.options.Uname()
		if err != nil {
			return nil, fmt.Errorf("ask the kernel for its release: %w", err)
		}
		c.put("release", Setting{Value: release, Origin: Origin{Source: SourceKernel}})
	}
	return c, nil
}

// Reload returns the configuration with what can change read anew from its sources; the module roots, the release, the
// firmware path, the flags and a tree that was found stay; one that was not there is looked for again. It is whole or not at all: when a line cannot be used that was not already
// unusable before, the error names it and the old configuration goes on.
func (c *Config) Reload() (*Config, error) {
	fresh, err := readSources(c.options)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, p := range fresh.problems {
		if !slices.ContainsFunc(c.problems, func(old Problem) bool { return old.File == p.File && old.Text == p.Text }) {
			errs = append(errs, p)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	for _, f := range c.options.Flags {
		if err := fresh.setFlag(f); err != nil {
			return nil, err
		}
	}
	for _, d := range definitions {
		if !d.fixed {
			continue
		}
		kept, changed := *c.setting(d.name), *fresh.setting(d.name)
		if changed.Origin.Source == SourceFile && changed.Value != kept.Value {
			fresh.problems = append(fresh.problems, Problem{changed.Origin.File, changed.Origin.Line,
				fmt.Sprintf("%s counts when the daemon is started again: until then it is %s", d.name, orNone(kept.Value))})
		}
		fresh.put(d.name, kept)
	}
	fresh.implicit, fresh.daemon, fresh.tree, fresh.root = c.implicit, c.daemon, c.tree, c.root
	fresh.conflicts, fresh.overrides = c.conflicts, c.overrides
	if fresh.tree == "" {
		fresh.findTree()
	}
	return fresh, nil
}

// set gives a setting a value from origin, as text with the elements of a list separated in it. Within one source and
// for forbid and allow, elements are collected; a higher source replaces the value.
func (c *Config) set(name, text string, origin Origin) error {
	d := define(name)
	if d == nil {
		return fmt.Errorf("unknown setting %q", name)
	}
	value, values, err := d.parse(text)
	if err != nil {
		return err
	}
	old := c.setting(d.name)
	switch {
	case d.kind == kindPatterns:
		list := &c.forbid
		if d.name == "allow" {
			list = &c.allow
		}
		for _, v := range values {
			*list = append(*list, Pattern{v, origin})
		}
		if len(old.Values) > 0 {
			values = append(slices.Clip(old.Values), values...)
			value, origin = strings.Join(values, " "), old.Origin
		}
	case d.kind == kindPaths && old.Origin.Source == origin.Source && origin.Source != SourceDefault:
		values = append(slices.Clip(old.Values), values...)
		value, origin = strings.Join(values, ":"), old.Origin
	}
	c.put(d.name, Setting{Value: value, Values: values, Origin: origin})
	return nil
}

// setFlag is set for a flag, whose value is never split.
func (c *Config) setFlag(f Flag) error {
	if f.Name == "" {
		f.Name = "--" + strings.ReplaceAll(f.Setting, "_", "-")
	}
	origin := Origin{Source: SourceFlag, Detail: f.Name}
	if d := define(f.Setting); d != nil {
		if old := c.setting(d.name); old.Origin.Source != SourceFlag {
			c.implicit[d.name] = *old
		}
	}
	if f.Setting == "release" && f.Value == "" {
		return fmt.Errorf("%s is empty: want the name of a directory below lib/modules, as uname -r prints it", f.Name)
	}
	if f.Setting != "module_root" {
		if err := c.set(f.Setting, f.Value, origin); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		return nil
	}
	if f.Value == "" {
		return fmt.Errorf("%s is empty: want a directory", f.Name)
	}
	dir, err := filepath.Abs(f.Value)
	if err != nil {
		return fmt.Errorf("%s %s: %w", f.Name, f.Value, err)
	}
	dirs := []string{dir}
	if old := c.setting("module_root"); old.Origin.Source == SourceFlag {
		dirs = append(slices.Clip(old.Values), dir)
	}
	c.put("module_root", Setting{Value: strings.Join(dirs, ":"), Values: dirs, Origin: origin})
	return nil
}

//go:noinline // once in the program, not in each of its many callers
func (c *Config) setting(name string) *Setting {
	for i := range c.settings {
		if c.settings[i].Name == name {
			return &c.settings[i]
		}
	}
	panic("modload: no setting is called " + name)
}

func (c *Config) put(name string, s Setting) {
	s.Name = name
	*c.setting(name) = s
}

// Release returns the kernel release whose modules are meant.
func (c *Config) Release() string { return c.setting("release").Value }

// FirmwarePath returns the directory that the kernel is to search for firmware first, or "" to leave it alone.
func (c *Config) FirmwarePath() string { return c.setting("firmware_path").Value }

// KernelRequests is whether the daemon registers itself for the kernel's own requests: "auto", "on" or "off".
func (c *Config) KernelRequests() string { return c.setting("kernel_requests").Value }

// Rules is which rules count: "auto", "embedded" or "directories".
func (c *Config) Rules() string { return c.setting("rules").Value }

// LogLevel returns the least level that is logged.
func (c *Config) LogLevel() Level { return parseLevel(c.setting("log_level").Value) }

// LogTarget is where the daemon logs: "auto", "stderr" or "kmsg".
func (c *Config) LogTarget() string { return c.setting("log_target").Value }

// EventTimeout returns how long an event may take.
func (c *Config) EventTimeout() time.Duration { return c.duration("event_timeout") }

// SettleTimeout returns how long settle and coldplug wait.
func (c *Config) SettleTimeout() time.Duration { return c.duration("settle_timeout") }

// Workers returns how many events are handled at a time, 0 to choose by the processors.
func (c *Config) Workers() int { return c.number("workers") }

// LoadWorkers returns how many modules are inserted at a time, 0 for what a [Loader] takes by itself.
func (c *Config) LoadWorkers() int { return c.number("load_workers") }

// ReceiveBuffer returns the size of the uevent socket's buffer in bytes; 0 leaves it to the listener.
func (c *Config) ReceiveBuffer() int { return c.number("receive_buffer") }

// Forbid returns the patterns of modules that are never loaded, in order.
func (c *Config) Forbid() []Pattern { return slices.Clone(c.forbid) }

// Allow returns the patterns of the only modules that are loaded; none means all.
func (c *Config) Allow() []Pattern { return slices.Clone(c.allow) }

// Settings returns every setting with its origin.
func (c *Config) Settings() []Setting { return slices.Clone(c.settings) }

// Setting returns the setting of that name; ok is false when there is none.
func (c *Config) Setting(name string) (s Setting, ok bool) {
	d := define(name)
	if d == nil {
		return Setting{}, false
	}
	return *c.setting(d.name), true
}

// Problems returns the lines that could not be used.
func (c *Config) Problems() []Problem { return slices.Clone(c.problems) }

// CommandLine returns the kernel command line that the configuration was resolved from.
func (c *Config) CommandLine() string { return c.cmdline }

// Path returns where an absolute path of the machine really lies: itself, but for tests. Everything that is not below
// the tree, such as /etc/modprobe.d or /sys/module, is opened through it.
//
//go:noinline // once in the program, not in each of its many callers
func (c *Config) Path(path string) string { return c.options.path(path) }

func (o *Options) path(path string) string {
	if o.SystemRoot == "" || path == o.SystemRoot || strings.HasPrefix(path, o.SystemRoot+"/") {
		return path
	}
	return filepath.Join(o.SystemRoot, path)
}

func (c *Config) duration(name string) time.Duration {
	d, _ := parseDuration(c.setting(name).Value) // checked when it was set
	return d
}

func (c *Config) number(name string) int {
	n, _ := parseSize(c.setting(name).Value) // checked when it was set
	return n
}

// readFile reads kudev.conf.
func (c *Config) readFile() {
	data, err := readFile(c.Path(ConfigFile))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.problems = append(c.problems, Problem{File: ConfigFile, Text: cause(err).Error()})
		}
		return
	}
	for line := range parseConf(data) {
		if line.problem != "" {
			c.problems = append(c.problems, Problem{ConfigFile, line.number, line.problem})
			continue
		}
		if err := c.set(line.name, line.value, Origin{Source: SourceFile, File: ConfigFile, Line: line.number}); err != nil {
			c.problems = append(c.problems, Problem{ConfigFile, line.number, err.Error()})
		}
	}
}

// readCommandLine reads kudev.* from the kernel command line.
func (c *Config) readCommandLine() {
	data, err := readFile(c.Path("/proc/cmdline"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.problems = append(c.problems, Problem{File: commandLineName, Text: err.Error()})
	}
	c.cmdline = strings.TrimRight(string(data), "\n\x00")
	c.readUdevCommandLine()
	for name, value := range splitCommandLine(c.cmdline) {
		name, ours := strings.CutPrefix(name, "kudev.")
		if !ours {
			continue
		}
		if err := c.set(name, value, Origin{Source: SourceCommandLine}); err != nil {
			c.problems = append(c.problems, Problem{File: commandLineName, Text: err.Error()})
		}
	}
}
