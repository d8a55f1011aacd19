package rules

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
)

// Source is one directory of rules files.
type Source struct {
	// Dir is the directory, and what problems and traces show in front of a file's name.
	Dir string
	// FS holds the files, at its root. Nil means the directory Dir itself.
	FS fs.FS
}

// Dirs returns the directories as sources, in their order.
func Dirs(dirs ...string) []Source {
	sources := make([]Source, len(dirs))
	for i, dir := range dirs {
		sources[i].Dir = dir
	}
	return sources
}

// StandardDirs are udev's directories, the highest first. See udev(7).
func StandardDirs() []string {
	return []string{"/etc/udev/rules.d", "/run/udev/rules.d", "/usr/local/lib/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d"}
}

//go:embed default/*.rules
var embedded embed.FS

// Embedded returns kudev's own rules, which are enough for a minimal system.
func Embedded() Source {
	sub, err := fs.Sub(embedded, "default")
	if err != nil {
		panic(err) // the directory is part of the binary
	}
	return Source{Dir: "embedded", FS: sub}
}

// Mode says which rules a machine goes by.
type Mode string

const (
	// Auto takes the directories alone when one of them holds 50-udev-default.rules, the file that every distribution's
	// own set has. Else the embedded rules lie below the directories.
	Auto Mode = "auto"
	// EmbeddedOnly takes the embedded rules, with the directories above them.
	EmbeddedOnly Mode = "embedded"
	// DirectoriesOnly never takes the embedded rules.
	DirectoriesOnly Mode = "directories"
)

// Sources returns what to parse in a mode, the highest first. A mode that is not known counts as Auto.
//
// With EmbeddedOnly a distribution's own set in the directories is left out: what lies in /etc and /run still counts,
// since the administrator put it there, and so does what lies in /usr/local; …/lib/udev/rules.d is the distribution's.
func Sources(mode Mode, dirs []string) []Source {
	switch mode {
	case DirectoriesOnly:
		return Dirs(dirs...)
	case EmbeddedOnly:
		var own []string
		for _, dir := range dirs {
			if !strings.HasSuffix(dir, "/lib/udev/rules.d") || strings.HasSuffix(dir, "/local/lib/udev/rules.d") {
				own = append(own, dir)
			}
		}
		return append(Dirs(own...), Embedded())
	}
	for _, dir := range dirs {
		if st, err := os.Stat(filepath.Join(dir, "50-udev-default.rules")); err == nil && st.Size() > 0 {
			return Dirs(dirs...)
		}
	}
	return append(Dirs(dirs...), Embedded())
}

// Parse reads the rules files of sources, of which the first has the highest precedence: a file hides those of the same
// name in later sources, and one that is empty or a link to /dev/null hides them and holds nothing. Files count in the
// order of their names, whatever their directory. A directory that is not there holds nothing.
//
// What cannot be read or understood is a Problem, and the rest counts. See udev(7).
func Parse(sources []Source) (*Set, []Problem) {
	set := &Set{}
	found, problems := Files(sources)
	for _, f := range found {
		text, err := f.Read()
		if err != nil {
			severity := Error
			if errors.Is(err, fs.ErrNotExist) {
				severity = Warning // a link to nothing, or a file that has just gone: it hides those below, and holds nothing
			}
			problems = append(problems, Problem{File: f.Path, Severity: severity, Message: sentence(err)})
			continue
		}
		if len(text) == 0 {
			continue
		}
		file, bad := ParseFile(f.Path, text)
		set.Files = append(set.Files, file)
		problems = append(problems, bad...)
	}
	return set, problems
}

// SourceFile is a rules file that counts.
type SourceFile struct {
	Path string // as problems show it
	name string
	fsys fs.FS
}

// Files lists the files of sources that count, in their order: see Parse.
func Files(sources []Source) ([]SourceFile, []Problem) {
	var found []SourceFile
	var problems []Problem
	seen := map[string]bool{}
	listed := map[string]bool{}
	for _, source := range sources {
		fsys := source.FS
		if fsys == nil {
			// /lib is a link to /usr/lib on most machines.
			if real, err := filepath.EvalSymlinks(source.Dir); err == nil {
				if listed[real] {
					continue
				}
				listed[real] = true
			}
			fsys = os.DirFS(source.Dir)
		}
		entries, err := fs.ReadDir(fsys, ".")
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				problems = append(problems, Problem{File: source.Dir, Severity: Error, Message: sentence(err)})
			}
			continue
		}
		for _, entry := range entries {
			name := entry.Name()
			if !strings.HasSuffix(name, ".rules") || strings.HasPrefix(name, ".") || entry.IsDir() || seen[name] {
				continue
			}
			seen[name] = true
			found = append(found, SourceFile{path.Join(source.Dir, name), name, fsys})
		}
	}
	sort.SliceStable(found, func(a, b int) bool { return found[a].name < found[b].name })
	return found, problems
}

// maxFileSize bounds what is read of one rules file. The largest in use have some hundred kilobytes.
const maxFileSize = 16 << 20

// Read returns the file's text; nothing for a device such as /dev/null.
func (f SourceFile) Read() ([]byte, error) {
	// A FIFO would be waited for and a device read without end: neither is opened.
	st, err := fs.Stat(f.fsys, f.name)
	switch {
	case err != nil:
		return nil, err
	case st.Mode()&fs.ModeDevice != 0:
		return nil, nil // /dev/null: hides what lies below
	case !st.Mode().IsRegular():
		return nil, errors.New("it is no regular file")
	case st.Size() > maxFileSize:
		return nil, fmt.Errorf("it has %d bytes, more than the %d that are read of a rules file", st.Size(), maxFileSize)
	}
	file, err := f.fsys.Open(f.name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFileSize))
	if err != nil {
		return nil, err
	}
	return text, nil
}

// sentence returns err without the path in front, which the problem shows.
func sentence(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Op + ": " + at.Err.Error()
	}
	return err.Error()
}
