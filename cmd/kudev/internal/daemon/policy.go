package daemon

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/modload"
	"github.com/kudev/kudev/rules"
	"github.com/kudev/kudev/rules/builtin"
	"github.com/kudev/kudev/rules/builtin/hwdb"
)

// Policy is one whole generation of what may be reloaded: the rules, the hardware database and the builtins with it.
// It never changes; an event is handled by one generation from its begin to its end.
type Policy struct {
	Program  *rules.Program
	Builtins *builtin.Table
	Problems []rules.Problem // of the rules; the rest of each file counts
	Sources  []rules.Source
	files    string // the state of the rules files before they were read
	dirs     string // and of their directories
}

// PolicyOptions say where a policy is read from.
type PolicyOptions struct {
	Config *modload.Config
	Roots  hotplug.Roots
	// RulesDirs, when given, are all the rules there are, the highest first.
	RulesDirs []string
	// HWDB, when given, is the file of the hardware database.
	HWDB string
	// Users looks up the names of OWNER and GROUP.
	Users rules.Users
	// Names is when: "early" or "" as the rules are read, "late" when one runs, "never" not at all.
	Names string
	// Builtins is what the builtins get besides the database.
	Builtins builtin.Options
}

// LoadPolicy reads a generation. What is wrong with a rules file is in Problems. The hardware database is opened anew
// by itself when it changes.
func LoadPolicy(o PolicyOptions) *Policy {
	p := &Policy{}
	if len(o.RulesDirs) > 0 {
		p.Sources = rules.Dirs(o.RulesDirs...)
	} else {
		p.Sources = rules.Sources(rules.Mode(o.Config.Rules()), o.rulesDirs())
	}
	p.files, p.dirs = stateOfFiles(p.Sources), stateOfDirs(p.Sources)
	set, problems := rules.Parse(p.Sources)
	compile := rules.Options{Users: o.Users, NoNames: o.Names == "never"}
	if o.Names == "late" {
		compile.Users = nil
	}
	program, more := rules.Compile(set, compile)
	p.Program, p.Problems = program, append(problems, more...)
	opts := o.Builtins
	if o.HWDB != "" {
		opts.HWDB = hwdb.NewFile(o.HWDB)
	} else {
		opts.HWDB = hwdb.NewFile(hwdb.Paths(o.Config.Path("/"))...)
	}
	opts.HWDB.Every = 100 * time.Millisecond // a burst of events looks once
	opts.CommandLine = o.Config.CommandLine()
	p.Builtins = builtin.New(opts)
	return p
}

func (o *PolicyOptions) rulesDirs() []string {
	dirs := rules.StandardDirs()
	for i, dir := range dirs {
		if rest, ok := strings.CutPrefix(dir, "/run/"); ok && o.Roots.Run != "" {
			dirs[i] = filepath.Join(o.Roots.Run, rest)
		} else {
			dirs[i] = o.Config.Path(dir)
		}
	}
	return dirs
}

// Shown says where the rules come from, for people.
func (p *Policy) Shown() string {
	var dirs []string
	for _, s := range p.Sources {
		if s.FS == nil {
			if _, err := os.Stat(s.Dir); err != nil {
				continue
			}
		}
		dirs = append(dirs, s.Dir)
	}
	if len(dirs) == 0 {
		return "none"
	}
	return strings.Join(dirs, ":")
}

// Count is how many rules there are.
func (p *Policy) Count() int {
	n := 0
	p.Program.Rules(func(*rules.Rule) bool { n++; return true })
	return n
}

// stateOfDirs tells other directories, or others' content, from these. It does not tell that a file was written to.
func stateOfDirs(sources []rules.Source) string {
	var b []byte
	for _, s := range sources {
		var st unix.Stat_t
		if s.FS == nil && unix.Stat(s.Dir, &st) == nil {
			for _, n := range [...]uint64{uint64(st.Dev), st.Ino, uint64(st.Mtim.Nano())} {
				b = binary.NativeEndian.AppendUint64(b, n)
			}
		}
		b = append(b, '.')
	}
	return string(b)
}

// stateOfFiles tells one state of the rules files from another.
func stateOfFiles(sources []rules.Source) string {
	var b strings.Builder
	for _, s := range sources {
		if s.FS != nil {
			continue
		}
		entries, _ := os.ReadDir(s.Dir)
		for _, e := range entries {
			if info, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), ".rules") {
				fmt.Fprintf(&b, "%s/%s %d %d\n", s.Dir, e.Name(), info.Size(), info.ModTime().UnixNano())
			}
		}
	}
	return b.String()
}
