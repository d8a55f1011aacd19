//go:build system

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/modload/modloadtest"
)

// TestProgramsAgreeWithKmod runs each line of testdata/kmod/*.txt twice, with the programs of Debian's kmod 30 and with ours, in a directory
// that stands for / (chroot), and wants the same output and exit status.
//
// A line is a command with shell-like quotes, with NAME=value in front where the environment matters. Behind " # " stands how it is
// compared, when otherwise:
//
//	files             the files modules.* in the tree are compared, too; modules.weakdep, which kmod 30 does not know, left aside
//	without comments  lines that begin with #, and the weakdep lines of newer kmods, are left out of both outputs
//	sorted            the order of lines does not matter
//	but REASON        the two differ, on purpose; that they still do is checked
func TestProgramsAgreeWithKmod(t *testing.T) {
	w := newKmodWorld(t)
	files, err := filepath.Glob("testdata/kmod/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	count := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' {
				continue
			}
			count++
			t.Run(line, func(t *testing.T) { w.compare(t, line) })
		}
	}
	if count < 150 {
		t.Errorf("%d cases, want 150 at least", count)
	}
}

// kmodWorld is the directory that stands for /.
type kmodWorld struct {
	dir      string
	release  string
	pristine map[string][]byte
}

// newKmodWorld builds the directory beside Debian's tree, so that the tree can be linked into it.
func newKmodWorld(t *testing.T) *kmodWorld {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("needs root for chroot(2): run as root")
	}
	out, err := exec.Command("sh", "../../testdata/debian/fetch").Output()
	if err != nil {
		t.Fatalf("sh testdata/debian/fetch: %v", err)
	}
	cache := strings.TrimSpace(string(out))
	dir, err := os.MkdirTemp(cache, ".compare-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := &kmodWorld{dir: dir}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	w.release = unix.ByteSliceToString(u.Release[:])

	w.run(t, "make", "-s", "-C", "../..", "build", "PROGRAM="+dir+"/ours/kudev")
	for _, name := range []string{"modprobe", "insmod", "rmmod", "lsmod", "modinfo", "depmod", "kmod"} {
		w.link(t, "kudev", "ours/"+name)
		w.link(t, "/bin/kmod", "theirs/"+name)
	}
	w.copy(t, cache+"/kmod/bin/kmod", "bin/kmod")
	w.copyLibraries(t, cache)
	w.copy(t, cache+"/busybox-static/bin/busybox", "bin/sh") // for install and remove commands
	w.fixture(t)

	debian := dir + "/debian/lib/modules"
	release, err := os.ReadFile(cache + "/linux/release")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(debian, 0o755); err != nil {
		t.Fatal(err)
	}
	w.run(t, "cp", "-al", cache+"/linux/lib/modules/"+string(release), debian+"/6.1.0-debian")
	w.pristine = w.indexes(t)
	return w
}

func (w *kmodWorld) run(t *testing.T, name string, args ...string) {
	t.Helper()
	c := exec.Command(name, args...)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func (w *kmodWorld) link(t *testing.T, target, name string) {
	t.Helper()
	path := filepath.Join(w.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(target, path)); err != nil {
		t.Fatal(err)
	}
}

func (w *kmodWorld) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(w.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func (w *kmodWorld) copy(t *testing.T, from, name string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, name, string(data))
	if err := os.Chmod(filepath.Join(w.dir, name), 0o755); err != nil {
		t.Fatal(err)
	}
}

// copyLibraries copies what Debian's kmod is linked with: libkmod of the package, the rest of this machine.
func (w *kmodWorld) copyLibraries(t *testing.T, cache string) {
	t.Helper()
	c := exec.Command("ldd", cache+"/kmod/bin/kmod")
	c.Env = append(os.Environ(), "LD_LIBRARY_PATH="+cache+"/libkmod2/usr/lib/x86_64-linux-gnu:"+cache+"/libkmod2/lib/x86_64-linux-gnu")
	out, err := c.Output()
	if err != nil {
		t.Fatalf("ldd: %v", err)
	}
	for _, f := range strings.Fields(string(out)) {
		if strings.HasPrefix(f, "/") {
			name := f
			if strings.HasPrefix(f, cache) {
				name = "/lib/x86_64-linux-gnu/" + filepath.Base(f)
			}
			w.copy(t, f, name)
		}
	}
}

// fixture writes the small machine: a tree for the running kernel, what is loaded in it, modprobe.d and depmod.d.
func (w *kmodWorld) fixture(t *testing.T) {
	t.Helper()
	tree := "lib/modules/" + w.release
	module := func(path string, m modloadtest.Module) {
		t.Helper()
		if err := modloadtest.WriteModule(filepath.Join(w.dir, path), m); err != nil {
			t.Fatal(err)
		}
	}
	k := tree + "/kernel/drivers/"
	module(k+"kt-base.ko", modloadtest.Module{Info: []string{"license=GPL", "author=A. One", "author=B. Two", "description=the base",
		"depends=", "alias=symbolic-kt", "parmtype=debug:int", "parm=debug:say more", "parmtype=quiet:bool", "parm=label:no type"},
		Exports: []string{"kt_base_open", "kt_base_close"}})
	module(k+"kt_mid.ko", modloadtest.Module{Info: []string{"license=GPL", "alias=pci:v00001AF4d*sv*sd*bc01sc*i*", "alias=pci:v00001AF4d00001000sv*sd*bc*sc*i*"},
		Exports: []string{"kt_mid"}, Needs: []string{"kt_base_open", "printk"}})
	module(k+"kt_top.ko", modloadtest.Module{Info: []string{"alias=usb:v1234p[0-4]*", "softdep=pre: kt_soft", "softdep=post: kt_late", "weakdep=kt_weak"},
		Needs: []string{"kt_mid", "kt_base_close", "nobody_has_this"}, Weak: []string{"kt_weak_symbol"}})
	module(k+"sub/kt_soft.ko", modloadtest.Module{Info: []string{"alias=char-major-240-*", "alias=devname:kt/soft", "alias=char-major-240-7"}})
	module(k+"sub/kt_late.ko.zst", modloadtest.Module{Info: []string{"alias=kt-alias-one", "alias=kt-shared", "version=1.2", "srcversion=ABC"}})
	module(k+"sub/kt_weak.ko", modloadtest.Module{Info: []string{"alias=kt-shared", "firmware=kt/fw.bin", "noequals"}, Exports: []string{"kt_weak_symbol"}})
	module(k+"kt_signed.ko", modloadtest.Module{Info: []string{"alias=block-major-250-3", "alias=devname:kt-block"}, Signer: "Test key"})
	module(k+"kt_big.ko", modloadtest.Module{Info: []string{"alias=of:N*T*Ckt,big"}, BigEndian: true, Machine: 21, Exports: []string{"kt_big"}})
	module(k+"kt_small.ko", modloadtest.Module{Info: []string{"alias=devname:no-number"}, Bits32: true, Machine: 3, Needs: []string{"kt_base_open"}, NoCRC: true, Exports: []string{"kt_small"}})
	module(k+"kt_black.ko", modloadtest.Module{Info: []string{"alias=kt-black-alias"}})
	module(k+"kt_dup.ko", modloadtest.Module{Info: []string{"description=from the kernel", "alias=a-very-long-key-in-modinfo"}})
	module(tree+"/updates/kt_dup.ko", modloadtest.Module{Info: []string{"description=from updates", "averyveryverylongkey=x"}})
	module(tree+"/extra/kt_extra.ko", modloadtest.Module{Info: []string{"alias=acpi*:KT0001:*"}})
	module("tmp/kt_outside.ko", modloadtest.Module{Info: []string{"license=MIT"}, Exports: []string{"kt_out"}, Needs: []string{"kt_mid"}})
	module("external/kt_external.ko", modloadtest.Module{Info: []string{"alias=kt-external"}})
	w.write(t, "tmp/broken.ko", "this is no module at all, only text that is long enough to be looked into\n")
	w.write(t, "tmp/empty.ko", "")
	w.write(t, tree+"/modules.order", "kernel/drivers/kt_top.ko\nkernel/drivers/kt-base.ko\nkernel/drivers/sub/kt_late.ko\nkernel/drivers/gone.ko\nkernel/drivers/kt_mid.ko\n")
	w.write(t, tree+"/modules.builtin", "kernel/kt_builtin.ko\nkernel/kt-other.ko\n")
	w.write(t, tree+"/modules.builtin.modinfo", "kt_builtin.license=GPL\x00kt_builtin.alias=kt-built-alias\x00kt_builtin.parm=x:an x\x00kt_builtin.parmtype=x:int\x00other.alias=kt-other-alias\x00")

	w.write(t, "etc/modprobe.d/a.conf", `# a comment
alias my-alias kt_mid
alias wild-* kt_black
alias no-such kt_missing
options kt_mid debug=1 label="two words"
options my-alias via=alias
options kt_base	tab=1
blacklist kt_black
blacklist kt-soft
install kt_inst echo "installing $MODPROBE_MODULE $CMDLINE_OPTS"
remove kt_inst echo removing
install kt_false false
softdep kt_mid pre: kt_weak
`)
	w.write(t, "etc/modprobe.d/b.conf", "options kt_late \\\n joined=yes\nalias char-major-240-5 kt_big\n")
	w.write(t, "etc/modprobe.d/ignored.txt", "alias ignored kt_mid\n")
	w.write(t, "run/modprobe.d/b.conf", "alias masked kt_mid\n")
	w.write(t, "lib/modprobe.d/c.conf", "alias lib-alias kt_top\noptions kt_top from=lib\n")
	w.write(t, "tmp/other.conf", "alias other-alias kt_base\nblacklist kt_mid\n")
	w.write(t, "tmp/bad.conf", "nonsense here\nalias broken\nalias good kt_base\ninclude other\nblacklist un[matched\nalias last kt_top")
	w.write(t, "etc/kudev/kudev.conf", "log_level = err\n")
	w.write(t, "proc/cmdline", "root=/dev/vda kt_base.quiet=1 kt_base.debug kt_top.name=\"a b\" modprobe.blacklist=kt_extra,kt_dup console=ttyS0 a.b.c=1\n")
	w.write(t, "proc/modules", "kt_mid 16384 1 kt_top, Live 0x0000000000000000\nkt_top 20480 0 - Live 0x0000000000000000\nkt_base 12345 2 kt_mid,kt_top, Live 0x0000000000000000\n")
	sys := func(name, state, size, refs string, holders ...string) {
		d := "sys/module/" + name
		w.write(t, d+"/initstate", state+"\n")
		w.write(t, d+"/coresize", size+"\n")
		w.write(t, d+"/refcnt", refs+"\n")
		if err := os.MkdirAll(filepath.Join(w.dir, d, "holders"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, h := range holders {
			w.link(t, "../../"+h, d+"/holders/"+h)
		}
	}
	sys("kt_base", "live", "12345", "2", "kt_mid", "kt_top")
	sys("kt_mid", "live", "16000", "1", "kt_top")
	sys("kt_top", "live", "20480", "0")
	w.write(t, "etc/depmod.d/search.conf", "search updates built-in\n")
	w.write(t, "depmod/override.conf", "override kt_dup * kernel/drivers\n")
	w.write(t, "depmod/regex.conf", "override kt_dup ^[0-9]+[.] kernel/drivers\nexternal .* /external\n")
	w.write(t, "depmod/exclude.conf", "exclude sub extra\nsearch built-in updates\nbad line\n")
	w.write(t, "depmod/external.conf", "external * /external\nsearch external updates built-in\n")
	w.write(t, "tmp/System.map", "ffffffff81000000 R __ksymtab_printk\nffffffff81000000 T _text\nffffffff81000008 r __ksymtab_module_layout\nbad\n")
	w.write(t, "tmp/Module.symvers", fmt.Sprintf("0x%08x\tprintk\tvmlinux\tEXPORT_SYMBOL\n0x00000001\tmodule_layout\tvmlinux\tEXPORT_SYMBOL\n0x1\tother\tdrivers/x\tEXPORT_SYMBOL\n", modloadtest.CRC("printk")))

	cycle := "cycle/lib/modules/" + w.release + "/"
	module(cycle+"a.ko", modloadtest.Module{Exports: []string{"a"}, Needs: []string{"b"}})
	module(cycle+"b.ko", modloadtest.Module{Exports: []string{"b"}, Needs: []string{"c"}})
	module(cycle+"c.ko", modloadtest.Module{Exports: []string{"c"}, Needs: []string{"a"}})
	module(cycle+"d.ko", modloadtest.Module{Needs: []string{"a"}})
	bare := "bare/lib/modules/" + w.release + "/"
	module(bare+"x/kt_one.ko", modloadtest.Module{Exports: []string{"one"}})
	module(bare+"y/kt_two.ko", modloadtest.Module{Needs: []string{"one"}})
	module(bare+"build/kt_no.ko", modloadtest.Module{})
	if err := os.MkdirAll(filepath.Join(w.dir, "empty/lib/modules", w.release), 0o755); err != nil {
		t.Fatal(err)
	}
	if r := w.start(t, "theirs", []string{"depmod"}, nil); r.status != 0 {
		t.Fatalf("kmod's depmod on the fixture: %+v", r)
	}
}

// outcome is what a command did.
type outcome struct {
	stdout, stderr string
	status         int
}

// start runs a command in the world with the programs of one side.
func (w *kmodWorld) start(t *testing.T, side string, args, environment []string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	c := &exec.Cmd{
		Path: "/" + side + "/" + args[0],
		Args: args,
		Dir:  "/tmp",
		// Install commands call programs, so the side's own come first.
		Env:         append([]string{"PATH=/" + side + ":/bin"}, environment...),
		Stdout:      &stdout,
		Stderr:      &stderr,
		SysProcAttr: &syscall.SysProcAttr{Chroot: w.dir},
		WaitDelay:   time.Second,
	}
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s %s: %v", side, strings.Join(args, " "), err)
	}
	if data, err := os.ReadFile(w.dir + "/dev/stdout"); err == nil { // kmod's static-nodes opens it by name
		stdout.Write(data)
		os.Remove(w.dir + "/dev/stdout")
	}
	return outcome{stdout.String(), stderr.String(), c.ProcessState.ExitCode()}
}

// compare runs one line of a case file on both sides.
func (w *kmodWorld) compare(t *testing.T, line string) {
	command, how, _ := strings.Cut(line, " # ")
	how = strings.TrimSpace(how)
	words := shellWords(strings.ReplaceAll(command, "$RELEASE", w.release))
	var environment []string
	for len(words) > 0 && strings.Contains(words[0], "=") {
		environment, words = append(environment, words[0]), words[1:]
	}
	theirs := w.start(t, "theirs", words, environment)
	var theirFiles map[string][]byte
	if how == "files" {
		theirFiles = w.indexes(t)
		w.restore(t)
	}
	ours := w.start(t, "ours", words, environment)
	var diffs []string
	switch how {
	case "without comments":
		ours.stdout, theirs.stdout = withoutComments(ours.stdout), withoutComments(theirs.stdout)
	case "sorted":
		ours.stdout, theirs.stdout = sortedLines(ours.stdout), sortedLines(theirs.stdout)
	case "files":
		diffs = fileDiffs(theirFiles, w.indexes(t))
		w.restore(t)
	}
	if ours.stdout != theirs.stdout {
		diffs = append(diffs, fmt.Sprintf("stdout:\n%s", firstDifference(theirs.stdout, ours.stdout)))
	}
	if ours.status != theirs.status {
		diffs = append(diffs, fmt.Sprintf("exit status: kmod's %d, ours %d", theirs.status, ours.status))
	}
	if (ours.stderr == "") != (theirs.stderr == "") {
		diffs = append(diffs, "only one of the two says something on stderr")
	}
	if strings.HasPrefix(how, "but ") {
		w.restore(t)
		if len(diffs) == 0 {
			t.Errorf("the two no longer differ; they were to: %s", how)
		}
		return
	}
	if len(diffs) > 0 {
		t.Errorf("%s\nkmod's stderr: %s\nour stderr: %s", strings.Join(diffs, "\n"), theirs.stderr, ours.stderr)
	}
}

// indexes reads every file modules.* below a lib/modules, and what a command may have written to /tmp/out.
func (w *kmodWorld) indexes(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, root := range []string{"lib/modules", "cycle/lib/modules", "bare/lib/modules", "empty/lib/modules", "debian/lib/modules", "tmp/out"} {
		err := filepath.WalkDir(filepath.Join(w.dir, root), func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return nil
			}
			if e.IsDir() && e.Name() == "kernel" {
				return fs.SkipDir
			}
			if !e.Type().IsRegular() || !strings.HasPrefix(e.Name(), "modules.") && root != "tmp/out" || e.Name() == "modules.weakdep" {
				return nil
			}
			files[path], err = os.ReadFile(path)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// restore brings the indexes back to what they were.
func (w *kmodWorld) restore(t *testing.T) {
	t.Helper()
	os.RemoveAll(w.dir + "/tmp/out")
	for path, data := range w.indexes(t) {
		if want, ok := w.pristine[path]; !ok {
			os.Remove(path)
		} else if !bytes.Equal(want, data) {
			os.Remove(path)
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for path, want := range w.pristine {
		if _, err := os.Stat(path); err != nil {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func fileDiffs(theirs, ours map[string][]byte) (diffs []string) {
	for path, data := range theirs {
		if own, ok := ours[path]; !ok {
			diffs = append(diffs, "file that kmod wrote and we did not: "+path)
		} else if !bytes.Equal(data, own) {
			diffs = append(diffs, fmt.Sprintf("file %s:\n%s", path, firstDifference(string(data), string(own))))
		}
	}
	for path := range ours {
		if _, ok := theirs[path]; !ok {
			diffs = append(diffs, "file that we wrote and kmod did not: "+path)
		}
	}
	return diffs
}

func withoutComments(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "weakdep ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func sortedLines(text string) string {
	lines := strings.SplitAfter(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// firstDifference shows the first lines that differ.
func firstDifference(theirs, ours string) string {
	a, b := strings.Split(theirs, "\n"), strings.Split(ours, "\n")
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	show := func(lines []string) string {
		if i >= len(lines) {
			return "(end)"
		}
		return fmt.Sprintf("%.300q", strings.Join(lines[i:min(i+3, len(lines))], "\n"))
	}
	return fmt.Sprintf("  line %d: kmod's %s\n  line %d: ours   %s", i+1, show(a), i+1, show(b))
}

// shellWords splits a command at blanks outside quotes.
func shellWords(text string) (words []string) {
	var word strings.Builder
	var quote rune
	started := false
	for _, c := range text {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote, started = c, true
		case quote == 0 && c == ' ':
			if started {
				words = append(words, word.String())
			}
			word.Reset()
			started = false
		default:
			word.WriteRune(c)
			started = true
		}
	}
	if started {
		words = append(words, word.String())
	}
	return words
}
