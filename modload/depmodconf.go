package modload

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kudev/kudev/modload/ere"
)

// depmodConfig is what depmod.d(5) says for one kernel: which of two modules of the same name counts, and where to look beside the tree.
// Of several lines the last comes first, as kmod has it.
type depmodConfig struct {
	overrides []string // path within the tree, without extension
	searches  []string // a directory of the tree, "built-in" or "external"; a later one has more weight
	externals []string
	excludes  []string // names of directories
}

const (
	searchBuiltin  = "built-in"
	searchExternal = "external"
)

// readDepmodConfig reads the files of depmod.d, in the order of their names over all directories, an earlier directory's file
// hiding its namesakes. What is wrong is logged and skipped.
func readDepmodConfig(paths []string, release string, log Logger) depmodConfig {
	var c depmodConfig
	for _, path := range depmodConfigFiles(paths, log) {
		data, err := os.ReadFile(path)
		if err != nil {
			log.Error(fmt.Sprintf("file parse %s: %s", path, strerror(err)))
			continue
		}
		c.parse(path, string(data), release, log)
	}
	if c.searches == nil {
		c.searches = []string{"updates"}
	}
	return c
}

func depmodConfigFiles(paths []string, log Logger) []string {
	byName := map[string]string{}
	for _, path := range paths {
		st, err := os.Stat(path)
		if err != nil {
			continue
		}
		if !st.IsDir() {
			if name := filepath.Base(path); byName[name] == "" {
				byName[name] = path
			}
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			log.Error(fmt.Sprintf("files list %s: %s", path, strerror(err)))
		}
		for _, e := range entries {
			name := e.Name()
			if strings.HasPrefix(name, ".") || len(name) < 6 || !strings.HasSuffix(name, ".conf") {
				continue
			}
			file := filepath.Join(path, name)
			if st, err := os.Stat(file); err == nil && st.IsDir() {
				log.Error("Directories inside directories are not supported: " + file)
				continue
			}
			if byName[name] == "" {
				byName[name] = file
			}
		}
	}
	var names []string
	for name := range byName {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] = byName[name]
	}
	return names
}

// parse adds a file's lines. A backslash joins a line with the next, or hides the character behind it.
func (c *depmodConfig) parse(file, text, release string, log Logger) {
	number := 0
	for text != "" {
		var line string
		var lines int
		line, text, lines = cutWrappedLine(text)
		number += lines
		if line == "" || line[0] == '#' {
			continue
		}
		words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
		if len(words) == 0 {
			continue
		}
		command, words := words[0], words[1:]
		switch {
		case command == "search":
			for _, w := range words {
				c.searches = slices.Insert(c.searches, 0, w)
			}
		case command == "exclude":
			c.excludes = append(c.excludes, words...)
		case command == "override" && len(words) >= 3:
			if releaseMatches(words[1], release) {
				c.overrides = slices.Insert(c.overrides, 0, words[2]+"/"+words[0])
			}
		case command == "external" && len(words) >= 2:
			if releaseMatches(words[0], release) {
				c.externals = slices.Insert(c.externals, 0, words[1])
			}
		case command == "include", command == "make_map_files":
			log.Info(fmt.Sprintf("%s:%d: command %s not implemented yet", file, number, command))
		default:
			log.Error(fmt.Sprintf("%s:%d: ignoring bad line starting with '%s'", file, number, command))
		}
	}
}

// cutWrappedLine splits the first logical line from text and counts the lines it takes.
func cutWrappedLine(text string) (line, rest string, lines int) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\n':
			return b.String(), text[i+1:], lines + 1
		case c == '\\' && i+1 < len(text):
			i++
			if text[i] == '\n' {
				lines++
			} else {
				b.WriteByte(text[i])
			}
		case c == '\\':
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), "", lines + 1
}

// releaseMatches says whether a pattern, "*" or an extended regular expression, matches somewhere in a release. One that is no
// expression matches nothing.
func releaseMatches(pattern, release string) bool {
	if pattern == "*" {
		return true
	}
	x, err := ere.Compile(pattern)
	return err == nil && x.Match(release)
}

// prefers says whether the module in old counts before its namesake in path. First comes an override, then the order of searches; the one
// found first stays where they are equal. Where both lie in one directory of search, the one found later counts: that is kmod's way, too.
func (c *depmodConfig) prefers(tree, old, path string) bool {
	relOld, inOld := withinTree(tree, old)
	relNew, inNew := withinTree(tree, path)
	for _, o := range c.overrides {
		if inNew && relNew == o {
			return false
		}
		if inOld && relOld == o {
			return true
		}
	}
	builtin, oldRank, newRank := -1, -1, -1
	i := 0
	for _, s := range c.searches {
		switch {
		case s == searchBuiltin:
			builtin = i
		case s == searchExternal:
			for _, dir := range c.externals {
				if strings.HasPrefix(path, dir+"/") {
					newRank = i
				}
				if strings.HasPrefix(old, dir+"/") {
					oldRank = i
				}
				i++
			}
		case inNew && strings.HasPrefix(relNew, s+"/"):
			newRank = i
		case inOld && strings.HasPrefix(relOld, s+"/"):
			oldRank = i
		}
		i++
	}
	if newRank < 0 {
		newRank = builtin
	}
	if oldRank < 0 {
		oldRank = builtin
	}
	return newRank <= oldRank
}

// withinTree is the path of a module within the tree, without its extension.
func withinTree(tree, path string) (string, bool) {
	rel, ok := strings.CutPrefix(path, tree+"/")
	if ext, has := moduleExtension(rel); has {
		rel = strings.TrimSuffix(rel, ext)
	}
	return rel, ok
}
