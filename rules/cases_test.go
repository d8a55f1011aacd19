package rules

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/kudev/kudev/hotplug"
)

// Each file in testdata/cases is one behaviour of the language: a machine, an event, rules, and what must come of them.
// testdata/cases/README explains the words.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/cases/*.txt")
	if err != nil || len(files) < 200 {
		t.Fatalf("testdata/cases has %d cases, at least 200 are promised (%v)", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c := readCase(t, string(text), t.TempDir())
			want := slices.Clone(c.expect)
			got := c.run(t)
			slices.Sort(want)
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s\n(-want +got)\n%s", c.title, diff)
			}
		})
	}
}

// testCase is one file.
type testCase struct {
	title   string
	roots   hotplug.Roots
	host    Recorder
	event   *hotplug.Event
	sources []Source
	early   bool // names are looked up when the rules are compiled
	expect  []string
}

func readCase(t *testing.T, text, dir string) *testCase {
	t.Helper()
	c := &testCase{
		roots: hotplug.Roots{Sys: dir + "/sys", Dev: dir + "/dev", Run: dir + "/run"},
		host: Recorder{
			Programs: map[string]string{}, Builtins: map[string]map[string]string{}, Sysctls: map[string]string{},
			Names: map[string]uint32{}, Consts: map[string]string{}, Globals: map[string]string{},
		},
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, text string) {
		t.Helper()
		must(os.MkdirAll(filepath.Dir(name), 0o755))
		must(os.WriteFile(name, []byte(text), 0o644))
	}
	for _, d := range []string{"sys", "dev", "run"} {
		must(os.MkdirAll(dir+"/"+d, 0o755))
	}
	var first, device, event string
	properties := map[string][]string{}
	lines := strings.Split(text, "\n")
	block := func(i *int) string { // the indented lines that follow
		var b strings.Builder
		for *i+1 < len(lines) {
			next := lines[*i+1]
			if next == "" && *i+2 < len(lines) && strings.HasPrefix(lines[*i+2], "\t") {
				next = "\t"
			}
			if !strings.HasPrefix(next, "\t") {
				break
			}
			*i++
			b.WriteString(next[1:] + "\n")
		}
		return b.String()
	}
	for i := 0; i < len(lines); i++ {
		word, rest, _ := strings.Cut(lines[i], " ")
		switch word {
		case "":
		case "#":
			c.title += rest + " "
		case "device": // PATH KEY=VALUE…: SUBSYSTEM and DRIVER become links
			words := splitWords(rest)
			device = words[0]
			at := c.roots.Sys + device
			uevent := ""
			for _, w := range words[1:] {
				key, value, _ := strings.Cut(w, "=")
				switch key {
				case "SUBSYSTEM":
					must(os.MkdirAll(c.roots.Sys+"/class/"+value, 0o755))
					must(os.MkdirAll(at, 0o755))
					must(os.Symlink(strings.Repeat("../", strings.Count(device, "/"))+"class/"+value, at+"/subsystem"))
					must(os.Symlink("../.."+device, c.roots.Sys+"/class/"+value+"/"+filepath.Base(device)))
				case "DRIVER":
					must(os.MkdirAll(at, 0o755))
					must(os.Symlink("../../bus/any/drivers/"+value, at+"/driver"))
					uevent += w + "\n"
				default:
					uevent += w + "\n"
				}
			}
			write(at+"/uevent", uevent)
			properties[device] = words[1:]
			if first == "" {
				first = device
			}
		case "attr": // NAME VALUE, of the last device
			name, value, _ := strings.Cut(rest, " ")
			value = strings.ReplaceAll(strings.ReplaceAll(value, `\n`, "\n"), `\s`, " ")
			if n, ok := strings.CutPrefix(value, "x*"); ok {
				count, err := strconv.Atoi(n)
				must(err)
				value = strings.Repeat("x", count)
			}
			write(c.roots.Sys+device+"/"+name, value+"\n")
		case "link": // NAME TARGET, of the last device
			name, target, _ := strings.Cut(rest, " ")
			must(os.Symlink(target, c.roots.Sys+device+"/"+name))
		case "dir":
			must(os.MkdirAll(c.roots.Sys+device+"/"+rest, 0o755))
		case "mode": // NAME MODE, of the last device
			name, mode, _ := strings.Cut(rest, " ")
			n, err := strconv.ParseUint(mode, 8, 32)
			must(err)
			must(os.Chmod(c.roots.Sys+device+"/"+name, fs.FileMode(n)))
		case "record": // the last device's: lines of /run/udev/data
			dev, err := c.roots.Device(device)
			must(err)
			write(c.roots.Run+"/udev/data/"+dev.ID(), block(&i))
		case "file": // PATH below /run or /dev
			write(dir+rest, block(&i))
		case "event": // ACTION KEY=VALUE…, of the first device
			event = rest
		case "program": // COMMAND: what it prints follows
			c.host.Programs[rest] = block(&i)
		case "builtin": // LINE: what it sets follows
			set := map[string]string{}
			for line := range strings.Lines(block(&i)) {
				key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
				set[key] = value
			}
			c.host.Builtins[rest] = set
		case "sysctl":
			name, value, _ := strings.Cut(rest, " ")
			c.host.Sysctls[name] = value
		case "name": // of a user or a group
			name, id, _ := strings.Cut(rest, " ")
			n, err := strconv.Atoi(id)
			must(err)
			c.host.Names[name] = uint32(n)
		case "const":
			key, value, _ := strings.Cut(rest, " ")
			c.host.Consts[key] = value
		case "cmdline":
			c.host.Cmdline = rest
		case "global":
			key, value, _ := strings.Cut(rest, "=")
			c.host.Globals[key] = value
		case "resolve":
			c.early = rest == "early"
		case "rules": // [FILE]: the text follows. Names may have a directory; those named first are higher.
			name := rest
			if name == "" {
				name = "10.rules"
			}
			at, base := filepath.Split(name)
			at = strings.TrimSuffix(at, "/")
			n := slices.IndexFunc(c.sources, func(s Source) bool { return s.Dir == at })
			if n < 0 {
				c.sources = append(c.sources, Source{Dir: at, FS: fstest.MapFS{}})
				n = len(c.sources) - 1
			}
			text := strings.ReplaceAll(block(&i), "<16K>", strings.Repeat("x", lineSize))
			text = strings.ReplaceAll(text, "<15K>", strings.Repeat("x", 15*1024))
			text = strings.ReplaceAll(text, "<1K>", strings.Repeat("x", 1024))
			text = strings.ReplaceAll(text, "<500>", strings.Repeat("x", 500))
			c.sources[n].FS.(fstest.MapFS)[base] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
		case "null": // FILE: a link to /dev/null
			at, base := filepath.Split(rest)
			at = strings.TrimSuffix(at, "/")
			n := slices.IndexFunc(c.sources, func(s Source) bool { return s.Dir == at })
			if n < 0 {
				c.sources = append(c.sources, Source{Dir: at, FS: fstest.MapFS{}})
				n = len(c.sources) - 1
			}
			c.sources[n].FS.(fstest.MapFS)[base] = &fstest.MapFile{Mode: fs.ModeDevice | fs.ModeCharDevice}
		case "udev252": // what the older one does differently: for the reader, and for the comparison
		case "expect":
			for line := range strings.Lines(block(&i)) {
				c.expect = append(c.expect, strings.TrimSuffix(strings.ReplaceAll(line, "<500>", strings.Repeat("x", 500)), "\n"))
			}
		default:
			t.Fatalf("line %d: unknown word %q", i+1, word)
		}
	}
	words := splitWords(event)
	if len(words) == 0 {
		words = []string{"add"}
	}
	subsystem := ""
	var extra []string
	for _, p := range slices.Concat(properties[first], words[1:]) {
		if value, ok := strings.CutPrefix(p, "SUBSYSTEM="); ok {
			subsystem = value
			continue
		}
		extra = append(extra, p)
	}
	c.event = hotplug.NewEvent(words[0], first, subsystem, extra...)
	return c
}

// run evaluates and puts the outcome into the words of a case. Properties are those that rules set.
func (c *testCase) run(t *testing.T) []string {
	t.Helper()
	var got []string
	say := func(format string, args ...any) { got = append(got, fmt.Sprintf(format, args...)) }
	set, problems := Parse(c.sources)
	opts := Options{}
	if c.early {
		opts.Users = &c.host
	}
	program, more := Compile(set, opts)
	for _, p := range append(problems, more...) {
		say("%s %s", p.Severity, p.Error())
	}
	for _, n := range program.StaticNodes() {
		say("static %s%s%s%s %s", n.Node, showID(" owner", n.UID), showID(" group", n.GID), showMode(n.Mode), strings.Join(n.Tags, ","))
	}
	before := map[string]string{}
	dev := c.roots.EventDevice(c.event)
	for key, value := range c.event.All() {
		before[key] = value
	}
	before["DEVNAME"] = "/dev/" + dev.Devname()
	res, err := program.Evaluate(context.Background(), c.event, dev, &c.host, nil)
	if err != nil {
		t.Fatal(err)
	}
	after := map[string]bool{}
	for _, p := range res.Properties {
		after[p.Key] = true
		if before[p.Key] != p.Value || p.Stored {
			say("%s=%s", p.Key, p.Value)
		}
		if p.Stored && strings.HasPrefix(p.Key, ".") {
			t.Errorf("%s is to be stored", p.Key)
		}
	}
	for key := range before {
		if !after[key] && (key != "DEVNAME" || dev.Devname() != "") {
			say("without %s", key)
		}
	}
	for _, link := range res.Links {
		say("link %s", link)
	}
	for _, tag := range res.Tags {
		say("tag %s", tag)
	}
	for i, r := range res.Run {
		kind := "program"
		if r.Builtin {
			kind = "builtin"
		}
		say("run %d %s %s", i+1, kind, r.Line)
	}
	for i, r := range c.host.Ran {
		say("ran %d %s", i+1, r)
	}
	for i, e := range c.host.Effects {
		say("write %d %s = %s", i+1, e.Target, e.Value)
	}
	if res.Name != "" {
		say("name %s", res.Name)
	}
	if res.Priority != 0 {
		say("priority %d", res.Priority)
	}
	if res.Watch {
		say("watch")
	}
	if res.Persist {
		say("persist")
	}
	for _, s := range []string{showID("owner", res.Node.UID), showID("group", res.Node.GID), strings.TrimSpace(showMode(res.Node.Mode))} {
		if s != "" {
			say("%s", s)
		}
	}
	for module, label := range res.Node.SecLabel {
		say("seclabel %s %s", module, label)
	}
	return got
}

func showID(what string, id *uint32) string {
	if id == nil {
		return ""
	}
	return fmt.Sprintf("%s %d", what, *id)
}

func showMode(m *fs.FileMode) string {
	if m == nil {
		return ""
	}
	return fmt.Sprintf(" mode %04o", modeBits(*m))
}
