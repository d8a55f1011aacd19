package modload

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// A Line is one entry of modprobe.d(5), the tree's modules.softdep and modules.weakdep and the kernel command line among them.
type Line struct {
	Keyword string // alias, blacklist, options, install, remove, softdep, weakdep
	Name    string // the module or, of alias, the pattern; with _ for -
	Value   string // the module, the options, the command, the dependencies; "" for blacklist
	File    string // where it stands; "kernel command line" for what stood there
	Line    int    // from 1; of a continued line, its last, as kmod counts
}

// Place is "file:line", as in messages.
func (l Line) Place() string {
	if l.Line == 0 {
		return l.File
	}
	return fmt.Sprintf("%s:%d", l.File, l.Line)
}

// modprobeDirs are where modprobe.d files lie, the first that has a file of some name wins.
var modprobeDirs = []string{"/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"}

// A policyFile is one file that counts.
type policyFile struct {
	base, path string
}

// policyFiles lists what counts of the given files and directories, and of the tree's own: of each base name the first found, in order
// of base names. Problems are what is there and cannot be read as configuration.
//
// See modprobe.d(5). Source: kmod, libkmod-config.c, kmod_config_new.
func policyFiles(tree string, paths []string) (files []policyFile, problems []Problem) {
	seen := map[string]bool{}
	add := func(base, path string) {
		if !seen[base] {
			seen[base] = true
			files = append(files, policyFile{base, path})
		}
	}
	if tree != "" {
		add("modules.softdep", filepath.Join(tree, "modules.softdep"))
		add("modules.weakdep", filepath.Join(tree, "modules.weakdep"))
	}
	var read []fs.FileInfo
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				problems = append(problems, Problem{File: path, Text: cause(err).Error()})
			}
			continue
		}
		if !info.IsDir() {
			add(filepath.Base(path), path)
			continue
		}
		if slices.ContainsFunc(read, func(have fs.FileInfo) bool { return os.SameFile(have, info) }) {
			continue // where /lib is a link to usr/lib, all of it is known
		}
		read = append(read, info)
		entries, err := os.ReadDir(path)
		if err != nil {
			problems = append(problems, Problem{File: path, Text: cause(err).Error()})
		}
		for _, e := range entries {
			name := e.Name()
			if name[0] == '.' || len(name) < 6 || !strings.HasSuffix(name, ".conf") {
				continue
			}
			full := filepath.Join(path, name)
			if e.Type().IsRegular() {
				add(name, full)
				continue
			}
			if info, err := os.Stat(full); err != nil {
				problems = append(problems, Problem{File: full, Text: cause(err).Error()})
				continue
			} else if info.IsDir() {
				problems = append(problems, Problem{File: full, Text: "a directory inside of a directory does not count"})
				continue
			}
			add(name, full)
		}
	}
	sort.SliceStable(files, func(a, b int) bool { return files[a].base < files[b].base })
	return files, problems
}

// parseModprobe reads one file of modprobe.d. A bad line is a problem and is skipped, the rest counts.
//
// A backslash before a newline joins lines, before anything else it is dropped; # begins a comment in the first column only.
func parseModprobe(file string, data []byte) (lines []Line, problems []Problem) {
	number := 0
	lines = make([]Line, 0, strings.Count(string(data), "\n")+1)
	for rest := string(data); rest != ""; {
		var text string
		number++
		if end := strings.IndexByte(rest, '\n'); end < 0 && strings.IndexByte(rest, '\\') < 0 {
			text, rest = rest, ""
		} else if end >= 0 && strings.IndexByte(rest[:end], '\\') < 0 {
			text, rest = rest[:end], rest[end+1:]
		} else {
			var more int
			text, rest, more = cutWrappedLine(rest)
			number += more - 1
		}
		if text == "" || text[0] == '#' {
			continue
		}
		keyword, rest := word(text)
		if keyword == "" {
			continue
		}
		l := Line{Keyword: keyword, File: file, Line: number}
		bad := func(why string) {
			problems = append(problems, Problem{file, number, fmt.Sprintf("%s: ignoring bad line starting with '%s'", why, keyword)})
		}
		switch keyword {
		case "alias", "blacklist", "options", "install", "remove", "softdep", "weakdep":
		case "include", "config":
			problems = append(problems, Problem{file, number, "command " + keyword + " is deprecated and not parsed anymore"})
			continue
		default:
			bad("unknown keyword")
			continue
		}
		name, rest := word(rest)
		if name == "" {
			bad("no name")
			continue
		}
		var ok bool
		if l.Name, ok = normalizeAlias(name); !ok {
			bad("bracket without its partner")
			continue
		}
		switch keyword {
		case "alias":
			module, _ := word(rest)
			if module == "" {
				bad("no module")
				continue
			}
			if l.Value, ok = normalizeAlias(module); !ok {
				bad("bracket without its partner")
				continue
			}
		case "blacklist":
		default:
			if l.Value = rest; rest == "" {
				bad("nothing behind the name")
				continue
			}
			if keyword == "options" {
				l.Value = strings.ReplaceAll(rest, "\t", " ")
			}
		}
		lines = append(lines, l)
	}
	return lines, problems
}

// word cuts the first word off; the rest begins behind the one blank that ends it, as strtok leaves it.
func word(s string) (first, rest string) {
	s = strings.TrimLeft(s, "\t ")
	end := strings.IndexAny(s, "\t ")
	if end < 0 {
		return s, ""
	}
	return s[:end], s[end+1:]
}

// commandLineName stands for a file in what comes from the kernel command line.
const commandLineName = "kernel command line"

// parseModuleCommandLine takes from the kernel command line what is said to modules: module.parameter[=value] gives options,
// modprobe.blacklist=a,b blacklists. A value in double quotes may hold blanks; a boot loader that quoted the whole word is understood;
// a second dot before the equals sign means that it is none of ours.
//
// Source: kmod, libkmod-config.c, kmod_config_parse_kcmdline.
func parseModuleCommandLine(text string) (lines []Line, problems []Problem) {
	for len(text) > 0 {
		// One word, blanks within quotes not ending it.
		quoted, end := false, 0
		for end < len(text) && (quoted || !isBlank(text[end])) {
			if text[end] == '"' {
				quoted = !quoted
			}
			end++
		}
		token := text[:end]
		text = text[min(end+1, len(text)):]
		if quoted {
			continue // never closed
		}
		whole := strings.HasPrefix(token, `"`)
		if whole {
			token = token[1:]
			if !strings.HasSuffix(token, `"`) {
				continue
			}
		}
		head, value, hasValue := strings.Cut(token, "=")
		module, param, ok := strings.Cut(head, ".")
		if !ok || module == "" || strings.ContainsAny(head, "\" \t\n") || strings.Contains(param, ".") {
			continue
		}
		if whole {
			if !hasValue {
				continue
			}
			value = `"` + value
		}
		if module == "modprobe" && param == "blacklist" && hasValue {
			for name := range strings.SplitSeq(strings.Trim(value, `"`), ",") {
				if name != "" {
					lines = append(lines, Line{Keyword: "blacklist", Name: name, File: commandLineName})
				}
			}
			continue
		}
		name, ok := normalizeAlias(module)
		if !ok {
			problems = append(problems, Problem{File: commandLineName, Text: fmt.Sprintf("ignoring bad option of module '%s'", module)})
			continue
		}
		if hasValue {
			param += "=" + value
		}
		lines = append(lines, Line{Keyword: "options", Name: name, Value: param, File: commandLineName})
	}
	return lines, problems
}

func isBlank(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }
