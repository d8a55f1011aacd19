package modload

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func spelled(lines []Line) []string {
	var s []string
	for _, l := range lines {
		s = append(s, strings.TrimSpace(fmt.Sprintf("%d %s %s %s", l.Line, l.Keyword, l.Name, l.Value)))
	}
	return s
}

func TestModprobeGrammar(t *testing.T) {
	text := strings.Join([]string{
		"# comment",
		" # blanks before it make it a bad line",
		"alias net-pf-* foo-bar extra words do not count",
		"alias x[a-z]-y mod",
		"alias broken[ mod",
		"blacklist foo-bar",
		"options foo-bar a=1\tb=2 \\",
		"  c=3",
		"options nothing",
		"install mod /sbin/thing $CMDLINE_OPTS && echo \\\\x",
		"remove mod  two  blanks",
		"softdep a pre: b-c d post: e",
		"weakdep a w1 w2",
		"include /etc/other",
		"config x",
		"\tblacklist\ttabs-too",
		"",
		"blacklist last\\",
	}, "\n")
	lines, problems := parseModprobe("t.conf", []byte(text))
	want := []string{
		"3 alias net_pf_* foo_bar",
		"4 alias x[a-z]_y mod",
		"6 blacklist foo_bar",
		"8 options foo_bar a=1 b=2   c=3",
		`10 install mod /sbin/thing $CMDLINE_OPTS && echo \x`,
		"11 remove mod  two  blanks",
		"12 softdep a pre: b-c d post: e",
		"13 weakdep a w1 w2",
		"16 blacklist tabs_too",
		"18 blacklist last",
	}
	want[3] = "8 options foo_bar a=1 b=2   c=3"
	want[5] = "11 remove mod  two  blanks"
	got := spelled(lines)
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Errorf("line %d: got %q, want %q", i, got[min(i, len(got)-1):], want[i])
			break
		}
	}
	var said []string
	for _, p := range problems {
		said = append(said, p.Error())
	}
	if want := []string{
		"t.conf:2: unknown keyword: ignoring bad line starting with '#'",
		"t.conf:5: bracket without its partner: ignoring bad line starting with 'alias'",
		"t.conf:9: nothing behind the name: ignoring bad line starting with 'options'",
		"t.conf:14: command include is deprecated and not parsed anymore",
		"t.conf:15: command config is deprecated and not parsed anymore",
	}; !slices.Equal(said, want) {
		t.Errorf("problems\n%s\nwant\n%s", strings.Join(said, "\n"), strings.Join(want, "\n"))
	}
}

func TestModuleOptionsOnTheKernelCommandLine(t *testing.T) {
	for line, want := range map[string]string{
		"root=/dev/sda1 snd-hda-intel.model=auto quiet": "options snd_hda_intel model=auto",
		`a.b="x y" c.d`:                                 `options a b="x y"|options c d`,
		`"parport.dyndbg=file drivers/x.c +mpf"`:        `options parport dyndbg="file drivers/x.c +mpf"`,
		"modprobe.blacklist=a,b-c modprobe.blacklist=d": "blacklist a|blacklist b-c|blacklist d",
		"a.b.c=1 x.y=1.5 .z=1 =5 a=b.c":                 "options x y=1.5",
		"unclosed.a=\"x y":                              "",
		"ro   a.b=1\n":                                  "options a b=1",
		`broken[.x=1 ok.x=1`:                            "options ok x=1",
	} {
		lines, _ := parseModuleCommandLine(line)
		var got []string
		for _, l := range lines {
			got = append(got, strings.TrimSpace(l.Keyword+" "+l.Name+" "+l.Value))
		}
		if strings.Join(got, "|") != want {
			t.Errorf("%q gives %q, want %q", line, got, want)
		}
	}
}

func TestFilesAreMaskedByNameAndReadInOrderOfNames(t *testing.T) {
	root := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("etc/modprobe.d/b.conf", "blacklist etc_b\n")
	write("run/modprobe.d/b.conf", "blacklist run_b\n")
	write("etc/modprobe.d/masked.conf", "")
	write("lib/modprobe.d/masked.conf", "blacklist masked\n")
	write("lib/modprobe.d/a.conf", "blacklist lib_a\n")
	write("usr/local/lib/modprobe.d/z.conf", "options m z=1\n")
	write("usr/lib/modprobe.d/.hidden.conf", "blacklist hidden\n")
	write("usr/lib/modprobe.d/notes.txt", "blacklist notes\n")
	write("usr/lib/modprobe.d/dir.conf/x.conf", "blacklist dir\n")
	write("usr/lib/modprobe.d/y.conf", "options m y=1\nsoftdep m pre: from_y\n")
	write("lib/modules/6.1.0/modules.dep", "m.ko:\n")
	write("lib/modules/6.1.0/modules.softdep", "# Soft dependencies\nsoftdep m pre: from_tree post: after\n")
	write("proc/cmdline", "quiet m.cmdline=1\n")
	cfg, err := Resolve(Options{SystemRoot: root, Uname: func() (string, error) { return "6.1.0", nil }})
	if err != nil {
		t.Fatal(err)
	}
	x, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for l := range x.Policy().Lines() {
		got = append(got, strings.TrimPrefix(l.Place(), root)+" "+l.Keyword+" "+l.Name)
	}
	want := []string{
		"/lib/modprobe.d/a.conf:1 blacklist lib_a", "/etc/modprobe.d/b.conf:1 blacklist etc_b", "/lib/modules/6.1.0/modules.softdep:2 softdep m",
		"/usr/lib/modprobe.d/y.conf:1 options m", "/usr/lib/modprobe.d/y.conf:2 softdep m", "/usr/local/lib/modprobe.d/z.conf:1 options m",
		"kernel command line options m",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if o := x.Policy().Options("m", ""); o != "y=1 z=1 cmdline=1" {
		t.Errorf("options %q", o)
	}
	if s := x.Policy().Softdeps("m"); !slices.Equal(s.Pre, []string{"from_tree", "from_y"}) || !slices.Equal(s.Post, []string{"after"}) {
		t.Errorf("softdeps %+v", s)
	}
	x, err = Open(cfg, filepath.Join(root, "etc/modprobe.d/b.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if _, yes := x.Policy().Blacklisted("lib_a"); yes {
		t.Error("a file of one's own choice must replace the directories")
	}
	if _, yes := x.Policy().Blacklisted("etc_b"); !yes {
		t.Error("a file of one's own choice does not count")
	}
}

func FuzzModprobe(f *testing.F) {
	f.Add("alias a-* b\noptions x y=\\\n z\n", "a.b=\"c d\" modprobe.blacklist=x,y \"p.q=r s\"")
	f.Add("softdep a pre: post: b\\", "\"")
	f.Add("install [ x\n\\\n\\", ".=.")
	f.Fuzz(func(t *testing.T, text, commandLine string) {
		p := &Policy{}
		p.take(parseModprobe("fuzz", []byte(text)))
		p.take(parseModuleCommandLine(commandLine))
		for l := range p.Lines() {
			if l.Name == "" || l.File == "" {
				t.Errorf("line without a name: %+v", l)
			}
			p.Softdeps(l.Name)
			p.Options(l.Name, l.Name)
		}
	})
}
