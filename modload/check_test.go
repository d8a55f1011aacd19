package modload

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/kudev/kudev/modload/modloadtest"
)

// treeMachine is a machine with a tree for 6.1.0 that has an index and these modules.
func treeMachine(t *testing.T, files map[string]string, modules map[string]modloadtest.Module) Options {
	t.Helper()
	all := map[string]string{"proc/modules": "", "lib/modules/6.1.0/": ""}
	for name, content := range files {
		all[name] = content
	}
	o := machine(t, all)
	tree := filepath.Join(o.SystemRoot, "lib/modules/6.1.0")
	for name, m := range modules {
		if m.Vermagic == "" {
			m.Vermagic = "6.1.0 SMP mod_unload "
		}
		if m.Machine == 0 {
			m.Machine = ownMachine()
		}
		if err := modloadtest.WriteModule(filepath.Join(tree, name), m); err != nil {
			t.Fatal(err)
		}
	}
	if err := Depmod(context.Background(), DepmodOptions{Dir: tree, Config: []string{}}); err != nil {
		t.Fatal(err)
	}
	return o
}

// wantFindings compares what was found, each as "severity: text: remedy" without the machine's own path.
func wantFindings(t *testing.T, o Options, want ...string) {
	t.Helper()
	var got []string
	for _, f := range resolve(t, o).CheckAll(context.Background()) {
		got = append(got, f.Severity.String()+": "+strings.ReplaceAll(f.String(), o.SystemRoot, ""))
	}
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("not found: %s", want[i])
		case i >= len(want):
			t.Errorf("found besides: %s", got[i])
		case got[i] != want[i]:
			t.Errorf("found %s\n want %s", got[i], want[i])
		}
	}
}

func TestCheckFindsNothingWrongWithASoundTree(t *testing.T) {
	wantFindings(t, treeMachine(t, nil, map[string]modloadtest.Module{"kernel/a.ko": {}, "kernel/b.ko.zst": {}}))
}

func TestCheckNamesAMissingTree(t *testing.T) {
	o := machine(t, map[string]string{"proc/modules": "", "etc/kudev/kudev.conf": "module_root=/store\n"})
	wantFindings(t, o, "error: no module tree for 6.1.0 in /store (/etc/kudev/kudev.conf:1): install the modules of 6.1.0 there, or name the root that holds lib/modules/6.1.0 with module_root in /etc/kudev/kudev.conf or kudev.module_root= on the kernel command line")
}

func TestCheckKnowsARootThatIsTheTreesOwnDirectory(t *testing.T) {
	for root, above := range map[string]string{"/lib/modules": "/", "/store/usr/lib/modules": "/store/usr"} {
		o := machine(t, map[string]string{"proc/modules": "", "etc/kudev/kudev.conf": "module_root=" + root})
		wantFindings(t, o, "error: no module tree for 6.1.0 in "+root+" (/etc/kudev/kudev.conf:1): module_root is the directory above lib/modules: make it "+above)
	}
}

func TestCheckNamesATreeForAnotherRelease(t *testing.T) {
	o := machine(t, map[string]string{"proc/modules": "", "lib/modules/6.0.9/": ""})
	wantFindings(t, o, "error: no module tree for 6.1.0 in / (default): there is /lib/modules/6.0.9: install the modules of 6.1.0 there, boot the kernel that the tree is for, or name another root with module_root in /etc/kudev/kudev.conf")

	o = treeMachine(t, nil, map[string]modloadtest.Module{"a.ko": {}})
	o.Uname = func() (string, error) { return "6.2.0", nil }
	os.MkdirAll(filepath.Join(o.SystemRoot, "etc/kudev"), 0o755)
	os.WriteFile(filepath.Join(o.SystemRoot, ConfigFile), []byte("release=6.1.0\n"), 0o644)
	wantFindings(t, o, "error: the tree is for 6.1.0 (/etc/kudev/kudev.conf:1) and the running kernel is 6.2.0: its modules are not for this kernel: leave out the release: it is the running kernel's then")
}

func TestCheckNamesModulesBuiltForAnotherKernel(t *testing.T) {
	remedy := ": install the modules of 6.1.0, or boot the kernel that they were built for"
	wantFindings(t, treeMachine(t, nil, map[string]modloadtest.Module{
		"a.ko": {}, "extra/b.ko": {Vermagic: "6.1.0-custom SMP "}, "extra/c.ko": {Vermagic: "6.1.0-custom SMP "},
	}), `error: built for "6.1.0-custom SMP ", not for 6.1.0: /lib/modules/6.1.0/extra/b.ko and 1 more`+remedy)

	foreign := uint16(243)
	if runtime.GOARCH == "riscv64" {
		foreign = 62
	}
	wantFindings(t, treeMachine(t, nil, map[string]modloadtest.Module{"a.ko": {Machine: foreign}}),
		"error: built for another architecture: /lib/modules/6.1.0/a.ko: install the modules of this machine's kernel")
}

func TestTheQuickCheckLooksAtOneModule(t *testing.T) {
	o := treeMachine(t, nil, map[string]modloadtest.Module{"a.ko": {Vermagic: "6.0.0 "}, "b.ko": {Vermagic: "6.0.0 "}})
	found := resolve(t, o).Check()
	if len(found) != 1 || !strings.HasPrefix(found[0].Text, `built for "6.0.0 ", not for 6.1.0: `) || strings.Contains(found[0].Text, "more") {
		t.Error(found)
	}
	if more := resolve(t, o).CheckMore(context.Background()); len(more) != 0 {
		t.Error(more)
	}
}

func TestCheckNamesAnIndexOlderThanAModule(t *testing.T) {
	o := treeMachine(t, nil, map[string]modloadtest.Module{"a.ko": {}, "b.ko": {}})
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(o.SystemRoot, "lib/modules/6.1.0/b.ko"), later, later); err != nil {
		t.Fatal(err)
	}
	wantFindings(t, o, "warning: the index is older than /lib/modules/6.1.0/b.ko: run kudev depmod 6.1.0")
}

func TestCheckNamesModulesThatTheIndexDoesNotKnow(t *testing.T) {
	o := treeMachine(t, nil, map[string]modloadtest.Module{"a.ko": {}})
	tree := filepath.Join(o.SystemRoot, "lib/modules/6.1.0")
	if err := modloadtest.WriteModule(filepath.Join(tree, "new.ko"), modloadtest.Module{Vermagic: "6.1.0 ", Machine: ownMachine()}); err != nil {
		t.Fatal(err)
	}
	past := time.Unix(1, 0)
	for _, name := range []string{"new.ko", "a.ko"} {
		os.Chtimes(filepath.Join(tree, name), past, past)
	}
	wantFindings(t, o, "warning: the index does not know /lib/modules/6.1.0/new.ko: run kudev depmod 6.1.0")
}

func TestCheckNamesFilesThatTheIndexNamesAndThatAreGone(t *testing.T) {
	o := treeMachine(t, map[string]string{"etc/kudev/kudev.conf": "module_root=/store:/"}, map[string]modloadtest.Module{"a.ko": {}, "b.ko": {}})
	os.Remove(filepath.Join(o.SystemRoot, "lib/modules/6.1.0/a.ko"))
	wantFindings(t, o, "error: modules.dep names what is not there: /lib/modules/6.1.0/a.ko: install them again, or run kudev depmod 6.1.0")
}

func TestCheckNamesDamagedIndexes(t *testing.T) {
	o := treeMachine(t, nil, map[string]modloadtest.Module{"a.ko": {}})
	tree := filepath.Join(o.SystemRoot, "lib/modules/6.1.0")
	os.WriteFile(filepath.Join(tree, "modules.alias.bin"), []byte("short"), 0o644)
	os.WriteFile(filepath.Join(tree, "modules.symbols.bin"), []byte("no index at all"), 0o644)
	os.WriteFile(filepath.Join(tree, "modules.builtin.bin"), []byte("\xb0\x07\xf4\x57\x00\x03\x00\x01\x00\x00\x00\x00"), 0o644)
	os.Remove(filepath.Join(tree, "modules.dep.bin"))
	remedy := ": run kudev depmod 6.1.0"
	wantFindings(t, o,
		"warning: /lib/modules/6.1.0/modules.dep.bin is missing: the text files are read in its place"+remedy,
		"warning: /lib/modules/6.1.0/modules.alias.bin is damaged: it ends in its header"+remedy,
		"warning: /lib/modules/6.1.0/modules.symbols.bin is damaged: it begins with 6e6f2069, not with b007f457"+remedy,
		"warning: /lib/modules/6.1.0/modules.builtin.bin is of version 3, and 2 is known"+remedy)
	os.Remove(filepath.Join(tree, "modules.dep"))
	wantFindings(t, o, "warning: /lib/modules/6.1.0 has no index: it is built in memory from every module's file, again by each process"+remedy)
}

func TestCheckSaysOnceThatAKernelHasNoModules(t *testing.T) {
	o, note := machine(t, nil), "note: this kernel has no support for modules: there is nothing to load"
	wantFindings(t, o, note)
	o.Flags = []Flag{{"module_root", filepath.Join(o.SystemRoot, "image"), "--module-root"}} // a tree for another machine
	wantFindings(t, o, note, "error: no module tree for 6.1.0 in /image (flag --module-root): install the modules of 6.1.0 there, or name the root that holds lib/modules/6.1.0 with module_root in /etc/kudev/kudev.conf or kudev.module_root= on the kernel command line")
}

func TestToolsOfTheMachine(t *testing.T) {
	kmod := "\x7fELF junk\xff/lib/modules\x00%s/lib/modules/%s\x00Use DIR as root for /lib/modules\x00/lib/modules/%s/modules.devname\x00"
	nix := "\x00/run/booted-system/kernel-modules/lib/modules\x00/run/current-system/kernel-modules/lib/modules/%s\x00MODULE_DIR\x00"
	o := treeMachine(t, map[string]string{
		"etc/kudev/kudev.conf":                  "module_root=/store\n",
		"store/lib/modules/6.1.0/":              "",
		"usr/sbin/modprobe":                     "-> ../bin/kmod",
		"usr/bin/kmod":                          kmod,
		"usr/lib/libkmod.so.2":                  "-> libkmod.so.2.4",
		"usr/lib/libkmod.so.2.4":                nix,
		"proc/sys/kernel/modprobe":              "/sbin/modprobe\n",
		"proc/812/comm":                         "systemd-udevd\n",
		"proc/812/exe":                          "-> /usr/lib/systemd/systemd-udevd",
		"proc/812/root":                         "-> ../..",
		"proc/812/maps":                         "7f00-7f01 r--p 0 0 0 /usr/lib/libkmod.so.2.4\n",
		"usr/lib/systemd/systemd-udevd":         "udevd",
		"run/booted-system/kernel-modules":      "-> ../../../store",
		"proc/813/comm":                         "(udev-worker)\n",
		"store/lib/firmware/x":                  "",
		"run/current-system/kernel-modules/lib": "a file",
	}, nil)
	os.Chmod(filepath.Join(o.SystemRoot, "usr/bin/kmod"), 0o755)
	os.Remove(filepath.Join(o.SystemRoot, "run/booted-system/kernel-modules"))
	os.Symlink("../../store", filepath.Join(o.SystemRoot, "run/booted-system/kernel-modules"))
	c := resolve(t, o)
	var got []string
	tools := c.Tools(context.Background(), "/bin:/usr/sbin")
	for _, tool := range tools {
		got = append(got, tool.Kind+": "+strings.ReplaceAll(tool.String(), o.SystemRoot, ""))
	}
	want := []string{
		"modprobe: /usr/sbin/modprobe would use /lib/modules/6.1.0",
		"libkmod: /usr/lib/libkmod.so.2 uses the same tree; MODULE_DIR in its environment moves it",
		"kernel.modprobe: /sbin/modprobe; it is not there",
		"udevd: /usr/lib/systemd/systemd-udevd (pid 812) uses the same tree; MODULE_DIR in its environment moves it",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var about []string
	for _, f := range c.CheckTools(tools) {
		about = append(about, f.Severity.String()+" "+f.Text[:strings.Index(f.Text, ":")])
	}
	if got := strings.Join(about, ", "); got != "warning modprobe, warning kernel.modprobe, warning udevd" {
		t.Error(got)
	}
}

func FuzzDirectoriesCompiledIntoAProgram(f *testing.F) {
	f.Add([]byte("\xff/lib/modules\x00%s/lib/modules/%s\x00"))
	f.Add([]byte("\x00/run/booted-system/kernel-modules/lib/modules/%s\x00lib/modules\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, dir := range compiledIn(data) {
			if !filepath.IsAbs(dir) || !strings.HasSuffix(dir, "/lib/modules") {
				t.Errorf("%q", dir)
			}
		}
	})
}

// ownMachine is the ELF machine of this kernel's modules, 0 where it is not known.
func ownMachine() uint16 {
	_, name, _ := uname()
	if m := elfMachines(name); len(m) > 0 {
		return m[0]
	}
	return 0
}
