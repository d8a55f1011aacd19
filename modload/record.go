package modload

import (
	"encoding/json"
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
// what stood in the kernel before any kudev came. Format: JSON in /run/kudev/record, replaced by a rename.
type record struct {
	Version  int              `json:"version"` // 1
	Pid      int              `json:"pid"`
	Settings []recordSetting  `json:"settings"`
	Tree     string           `json:"tree"`
	Before   map[string]taken `json:"before,omitempty"` // by the kernel's file
}

// recordSetting is one setting: as the daemon has it, and as it would have it without its flags.
type recordSetting struct {
	Name     string          `json:"name"`
	Value    string          `json:"value"`
	Values   []string        `json:"values,omitempty"`
	Origin   string          `json:"origin"`
	Implicit *recordImplicit `json:"implicit,omitempty"` // left out where the daemon had no flag for it
}

type recordImplicit struct {
	Value  string `json:"value"`
	Origin string `json:"origin"`
}

// taken is a file of the kernel that the daemon wrote to.
type taken struct {
	Ours   string `json:"ours"`   // what it wrote
	Theirs string `json:"before"` // what stood there before any kudev
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
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if r.Version != 1 || r.Pid <= 0 {
		return nil, fmt.Errorf("%s: written by another version of kudev", name)
	}
	return &r, nil
}

// write replaces the record. Only the holder of the lock calls it.
func (r *record) write(o *Options) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	name := o.path(filepath.Join(RunDir, "record"))
	if err := os.WriteFile(name+".new", append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// newRecord describes c for this process.
func (c *Config) newRecord() *record {
	r := &record{Version: 1, Pid: os.Getpid(), Tree: c.tree}
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
