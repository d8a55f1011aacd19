package modload

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// machine is a fake machine: a directory that stands for /. Files are paths with their content; a path that ends in / is
// a directory, and content that begins with "-> " is a link.
func machine(t *testing.T, files map[string]string) Options {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(path, 0o755)
		} else if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return Options{SystemRoot: root, Uname: func() (string, error) { return "6.1.0", nil }}
}

func resolve(t *testing.T, o Options) *Config {
	t.Helper()
	c, err := Resolve(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func origin(t *testing.T, c *Config, name string) string {
	t.Helper()
	s, ok := c.Setting(name)
	if !ok {
		t.Fatalf("no setting is called %s", name)
	}
	return s.Value + " (" + s.Origin.String() + ")"
}

func TestEachSourceGoesOverTheOneBelow(t *testing.T) {
	o := machine(t, nil)
	want := func(text string) {
		t.Helper()
		if got := origin(t, resolve(t, o), "module_root"); got != text {
			t.Errorf("module_root is %s, want %s", got, text)
		}
	}
	write := func(name, content string) {
		t.Helper()
		os.MkdirAll(filepath.Dir(filepath.Join(o.SystemRoot, name)), 0o755)
		if err := os.WriteFile(filepath.Join(o.SystemRoot, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want("/ (default)")
	o.LinkedRoot = "/linked:/too"
	want("/linked:/too (linked in)")
	write("etc/kudev/kudev.conf", "# one\nmodule_root /file\n\nmodule-root = /second\n")
	want("/file:/second (/etc/kudev/kudev.conf:2)")
	write("proc/cmdline", "root=/dev/sda kudev.module_root=/cmdline,/b kudev.module_root=/c -- kudev.module_root=/init\n")
	want("/cmdline:/b:/c (kernel command line)")
	o.Flags = []Flag{{"module_root", "/with:colon", ""}, {"module_root", "/b", ""}}
	want("/with:colon:/b (flag --module-root)")
	if got := resolve(t, o).Roots(); !slices.Equal(got, []string{"/with:colon", "/b"}) {
		t.Errorf("a flag's value was split: %q", got)
	}
	o.Flags = []Flag{{"module_root", "relative", "-d"}}
	dir, _ := os.Getwd()
	want(dir + "/relative (flag -d)")
}

func TestTypedSettings(t *testing.T) {
	c := resolve(t, machine(t, map[string]string{
		"etc/kudev/kudev.conf": "event_timeout=90\nsettle_timeout = 2m\nworkers 3\nlog_level = \"err\" # loud\nreceive_buffer=16M\nforbid floppy  usb:v1234*\nallow=ext4\n",
		"proc/cmdline":         "kudev.forbid=pcspkr,firewire_* kudev.load_workers=2",
	}))
	if got := c.EventTimeout(); got != 90*time.Second {
		t.Error("event_timeout", got)
	}
	if got := c.SettleTimeout(); got != 2*time.Minute {
		t.Error("settle_timeout", got)
	}
	if c.Workers() != 3 || c.LoadWorkers() != 2 || c.ReceiveBuffer() != 16<<20 || c.LogLevel() != LevelError {
		t.Error("workers, load_workers, receive_buffer, log_level:", c.Workers(), c.LoadWorkers(), c.ReceiveBuffer(), c.LogLevel())
	}
	var got []string
	for _, p := range c.Forbid() {
		got = append(got, p.Pattern+" "+p.Origin.String())
	}
	want := []string{"floppy /etc/kudev/kudev.conf:6", "usb:v1234* /etc/kudev/kudev.conf:6", "pcspkr kernel command line", "firewire_* kernel command line"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("forbid:", diff)
	}
	if a := c.Allow(); len(a) != 1 || a[0].Pattern != "ext4" {
		t.Error("allow:", a)
	}
	if p := c.Problems(); len(p) > 0 {
		t.Error(p)
	}
}

func TestABadLineLosesOnlyItself(t *testing.T) {
	c := resolve(t, machine(t, map[string]string{
		"etc/kudev/kudev.conf": "nonsense\ncolour = red\nworkers = many\nmodule_root = lib\nrules = some\nlog_level=\"err\nforbid\nforbid = [\n= x\n\xff\xfe\nreceive_buffer=9G\nworkers \\\n\\\n 4\nbad\n",
	}))
	var got []string
	for _, p := range c.Problems() {
		got = append(got, p.Error())
	}
	f := "/etc/kudev/kudev.conf:"
	want := []string{
		f + "1: no value: want name = value",
		f + `2: unknown setting "colour"`,
		f + `3: workers is "many": want a whole number, 0 or more`,
		f + `4: module_root is "lib": want an absolute path`,
		f + `5: rules is "some": it may be auto, embedded, directories`,
		f + "6: quote not closed at the end of the value",
		f + "7: no value: want name = value",
		f + `8: forbid: "[" is no pattern: a bracket is not closed`,
		f + "9: no name: want name = value",
		f + "10: not text",
		f + `11: receive_buffer is "9G": want a number of bytes, or one with K, M or G behind`,
		f + "15: no value: want name = value",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if c.Workers() != 4 {
		t.Error("the continued line was lost: workers is", c.Workers())
	}
}

func TestAConfigurationThatCannotBeReadIsSaid(t *testing.T) {
	c := resolve(t, machine(t, map[string]string{"etc/kudev/kudev.conf/": ""}))
	if p := c.Problems(); len(p) != 1 || p[0].Error() != "/etc/kudev/kudev.conf: is a directory" {
		t.Error(p)
	}
}

func TestTheFirstRootThatHoldsTheReleaseWinsWhole(t *testing.T) {
	o := machine(t, map[string]string{
		"run/booted/lib/modules/5.10.0/":          "",
		"run/current/usr/lib/modules/6.1.0/":      "",
		"run/current/lib/firmware/":               "",
		"run/later/lib/modules/6.1.0/modules.dep": "",
		"etc/kudev/kudev.conf":                    "module_root = /run/gone:/run/booted:/run/current:/run/later",
	})
	c := resolve(t, o)
	if c.Tree() != o.SystemRoot+"/run/current/usr/lib/modules/6.1.0" || c.Root() != "/run/current" {
		t.Error("tree", c.Tree(), "root", c.Root())
	}
	if got := origin(t, c, "firmware_path"); got != "/run/current/lib/firmware (from module_root)" {
		t.Error("firmware_path is", got)
	}
	o.Flags = []Flag{{Setting: "release", Value: "5.10.0"}}
	if c := resolve(t, o); c.Root() != "/run/booted" || c.FirmwarePath() != "" {
		t.Error("root", c.Root(), "firmware_path", c.FirmwarePath())
	}
}

func TestNoTreeNamesTheOnesThereAre(t *testing.T) {
	o := machine(t, map[string]string{"lib/modules/6.0.1/": "", "lib/modules/5.10.0/": ""})
	err := resolve(t, o).TreeError()
	if !errors.Is(err, ErrNoTree) || err.Error() != "no module tree for 6.1.0 in / (default): there is /lib/modules/5.10.0, /lib/modules/6.0.1" {
		t.Error(err)
	}
}

func TestFlagsThatMakeNoSenseAreErrors(t *testing.T) {
	for _, f := range []Flag{{"module_root", "", ""}, {"workers", "x", "--workers"}, {"nothing", "x", "--nothing"}} {
		o := machine(t, nil)
		o.Flags = []Flag{f}
		if _, err := Resolve(o); err == nil {
			t.Errorf("%v is taken", f)
		}
	}
}

func TestKernelCommandLineWords(t *testing.T) {
	var got []string
	for name, value := range splitCommandLine(` quiet "a.b=c d" x="y z" e= f=g=h  -- init`) {
		got = append(got, name+"|"+value)
	}
	want := []string{"quiet|", "a.b|c d", "x|y z", "e|", "f|g=h"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReloadIsWholeOrNotAtAll(t *testing.T) {
	o := machine(t, map[string]string{
		"etc/kudev/kudev.conf": "forbid = floppy\nmodule_root = /a\nhabit = old\n",
		"a/lib/modules/6.1.0/": "",
		"b/lib/modules/6.1.0/": "",
	})
	conf := filepath.Join(o.SystemRoot, "etc/kudev/kudev.conf")
	c := resolve(t, o)
	os.WriteFile(conf, []byte("forbid = pcspkr\nworkers = few\nhabit = old\n"), 0o644)
	if _, err := c.Reload(); err == nil || err.Error() != `/etc/kudev/kudev.conf:2: workers is "few": want a whole number, 0 or more` {
		t.Error(err)
	}
	os.WriteFile(conf, []byte("habit = old\nforbid = pcspkr\nmodule_root = /b\nworkers = 2\n"), 0o644)
	fresh, err := c.Reload()
	if err != nil {
		t.Fatal(err)
	}
	if fresh.Forbid()[0].Pattern != "pcspkr" || fresh.Workers() != 2 {
		t.Error("policy is not the new one:", fresh.Forbid(), fresh.Workers())
	}
	if fresh.Root() != "/a" || fresh.Roots()[0] != "/a" || fresh.Tree() != c.Tree() {
		t.Error("the root moved:", fresh.Root(), fresh.Roots())
	}
	if p := fresh.Problems(); len(p) != 2 || p[1].Error() != "/etc/kudev/kudev.conf:3: module_root counts when the daemon is started again: until then it is /a" {
		t.Error(p)
	}
	if c.Forbid()[0].Pattern != "floppy" {
		t.Error("the old configuration changed")
	}
}

func FuzzConfigurationFile(f *testing.F) {
	f.Add([]byte("module_root = /a:/b\n# x\nforbid \"a b\" # c\nworkers \\\n 3\n"))
	f.Add([]byte("= \"\n\\\n\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		lines := 1 + strings.Count(string(data), "\n")
		for l := range parseConf(data) {
			if l.number < 1 || l.number > lines {
				t.Fatalf("line %d of %d", l.number, lines)
			}
			if l.problem == "" && l.name == "" {
				t.Fatal("a line without a name")
			}
		}
		for range splitCommandLine(string(data)) {
		}
	})
}

func BenchmarkResolve(b *testing.B) {
	root := b.TempDir()
	os.MkdirAll(filepath.Join(root, "etc/kudev"), 0o755)
	os.MkdirAll(filepath.Join(root, "proc"), 0o755)
	os.MkdirAll(filepath.Join(root, "lib/modules/6.1.0"), 0o755)
	os.WriteFile(filepath.Join(root, ConfigFile), []byte("forbid = floppy pcspkr\nrules = auto\n"), 0o644)
	os.WriteFile(filepath.Join(root, "proc/cmdline"), []byte("BOOT_IMAGE=/vmlinuz root=/dev/sda1 quiet\n"), 0o644)
	o := Options{SystemRoot: root, Uname: func() (string, error) { return "6.1.0", nil }}
	b.ReportAllocs()
	for b.Loop() {
		if c, err := Resolve(o); err != nil || c.Tree() == "" {
			b.Fatal(c.TreeError(), err)
		}
	}
}
