//go:build system

package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/kudev/kudev/cmd/kudev/internal/vm"
	"github.com/kudev/kudev/cmd/kudev/internal/vm/vmtest"
	"github.com/kudev/kudev/modload"
	"github.com/kudev/kudev/modload/modloadtest"
)

// TestLoadingAndRemovalAgreeWithKmod runs the lines of testdata/kmod-guest/*.txt in a guest with Debian's kernel: each file with kmod's
// programs from the first line to the last, then with ours. Output, messages, exit status, and what is in the kernel after each line, are to be
// the same; but for the order of the lines of the output, for independent modules are loaded side by side.
//
// A line is a command with shell-like quotes, with NAME=value in front where the environment matters; SIDE is kmod or kudev in it. The guest has
// conf/*.conf in /root/conf, of them modprobe.conf in /etc/modprobe.d, and in /root what addModules makes. Behind " # " may stand "but REASON": the
// two differ, on purpose; that they still do is checked, and everything is removed behind it. Below a command, "says TEXT" is what our message
// has instead of kmod's. A line that begins with "!" is for the shell, and no case.
func TestLoadingAndRemovalAgreeWithKmod(t *testing.T) {
	debian := vmtest.Debian(t)
	root := vm.NewTree()
	vmtest.Kudev(t, root)
	if err := debian.AddKmod(root); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"modprobe", "insmod", "rmmod", "lsmod"} {
		root.Symlink("/lib/kudev/"+name, "/bin/kudev")
	}
	if err := root.CopyAll("/root/conf", "testdata/kmod-guest/conf", nil); err != nil {
		t.Fatal(err)
	}
	root.Copy("/etc/modprobe.d/kd.conf", "testdata/kmod-guest/conf/modprobe.conf", 0o644)
	root.File("/etc/kudev/kudev.conf", "forbid = nbd\n", 0o644)
	addModules(t, debian, root)
	g := &kmodGuest{Guest: vmtest.Boot(t, vm.Options{Machine: vm.Bare(), Root: root, Append: "brd.rd_nr=1 null_blk.nr_devices=1 null_blk.gb=\"1\""})}
	g.Must("/lib/kmod/depmod", "-b", "/root/z")
	g.Sh("rm /root/z/lib/modules/*/kernel/gone.ko; cut -d' ' -f1 /proc/modules >/tmp/start")
	g.start = g.Must("/init", "modules").Stdout

	count := 0
	// What the last three do cannot be undone.
	for _, name := range []string{
		"loading", "showing", "insmod", "removal", "parameters", "configuration", "commands", "softdeps", "compressed", "refused", "forced",
		"locked-down", "enforced", "ended",
	} {
		t.Run(name, func(t *testing.T) {
			g := g.with(t)
			cases := readKmodCases(t, "testdata/kmod-guest/"+name+".txt", debian.Release())
			theirs := g.run("kmod", cases)
			ours := g.run("kudev", cases)
			for i, c := range cases {
				if !c.shell {
					count++
					t.Run(c.command, func(t *testing.T) { c.compare(t, theirs[i], ours[i]) })
				}
			}
		})
	}
	if count < 250 {
		t.Errorf("%d cases, want 250 at least", count)
	}
}

// kmodCase is a line of a file.
type kmodCase struct {
	command string
	shell   bool
	differs bool
	says    string
}

func readKmodCases(t *testing.T, file, release string) (cases []kmodCase) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(strings.ReplaceAll(string(text), "$RELEASE", release)) {
		line = strings.TrimSpace(line)
		if says, ok := strings.CutPrefix(line, "says "); ok {
			cases[len(cases)-1].says = says
		} else if script, ok := strings.CutPrefix(line, "! "); ok {
			cases = append(cases, kmodCase{command: script, shell: true})
		} else if line != "" && line[0] != '#' {
			command, how, _ := strings.Cut(line, " # ")
			cases = append(cases, kmodCase{command: strings.TrimSpace(command), differs: strings.HasPrefix(how, "but ")})
		}
	}
	return cases
}

// compare holds what one line did with our programs against what it did with kmod's.
func (c kmodCase) compare(t *testing.T, theirs, ours kmodOutcome) {
	same := theirs.stdout == ours.stdout && theirs.status == ours.status && (c.says != "" || theirs.stderr == ours.stderr)
	if same == c.differs {
		t.Errorf("the same: %t, expected: %t\nkmod: exit status %d\n%s%sours: exit status %d\n%s%s", same, !c.differs,
			theirs.status, theirs.stdout, theirs.stderr, ours.status, ours.stdout, ours.stderr)
	}
	if !strings.Contains(ours.stderr, c.says) {
		t.Errorf("our message has no %q:\n%skmod's is\n%s", c.says, ours.stderr, theirs.stderr)
	}
	if theirs.state != ours.state {
		t.Errorf("in the kernel after it:\n%s", firstDifference(theirs.state, ours.state))
	}
}

// kmodOutcome is what one line did.
type kmodOutcome struct {
	status         int
	stdout, stderr string
	state          string // of the kernel's modules
}

// kmodGuest is a guest with kmod's programs in /lib/kmod and ours in /lib/kudev.
type kmodGuest struct {
	*vmtest.Guest
	t     testing.TB
	start string // what /init modules says when nothing has been loaded
}

func (g *kmodGuest) with(t testing.TB) *kmodGuest { return &kmodGuest{g.With(t), t, g.start} }

// run runs the lines with one side's programs, and takes out of the kernel what they left there.
func (g *kmodGuest) run(side string, cases []kmodCase) (outcomes []kmodOutcome) {
	g.t.Helper()
	for _, c := range cases {
		var o kmodOutcome
		if c.shell {
			g.command(c.command, vm.Command{Args: []string{"sh", "-c", c.command}})
		} else {
			environment := []string{"PATH=/bin", "SIDE=" + side}
			words := shellWords(c.command)
			for strings.Contains(words[0], "=") {
				environment, words = append(environment, words[0]), words[1:]
			}
			words[0] = "/lib/" + side + "/" + words[0]
			r := g.command(c.command, vm.Command{Args: words, Env: environment})
			if c.differs {
				g.Must("/init", "unload", "/tmp/start")
			}
			stderr := ""
			for line := range strings.Lines(r.Stderr) {
				if !strings.Contains(line, " ../libkmod/") { // what the library says to itself
					stderr += strings.TrimPrefix(line, "/lib/"+side+"/") // of a wrong option kmod says by what path it was called
				}
			}
			o = kmodOutcome{r.Code, sortedLines(r.Stdout), sortedLines(stderr), g.Must("/init", "modules").Stdout}
		}
		outcomes = append(outcomes, o)
	}
	g.Do("/init", "unload", "/tmp/start")
	if end := g.Must("/init", "modules").Stdout; end != g.start {
		g.t.Fatalf("%s: what was loaded cannot be removed:\n%s", side, firstDifference(g.start, end))
	}
	return outcomes
}

// command runs a line that has a minute: one that hangs ends the test.
func (g *kmodGuest) command(line string, c vm.Command) vm.Result {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), time.Minute)
	defer cancel()
	r, err := g.Run(ctx, c)
	if err != nil {
		g.Close() // the rest need not wait
		g.t.Fatalf("%s: %v", line, err)
	}
	return r
}

// addModules puts into /root what Debian's dummy.ko, the simplest of drivers, can be made into: compressed, built for something else, damaged.
// In /root/z is a module tree with some of that.
func addModules(t *testing.T, debian *vm.Debian, root *vm.Tree) {
	t.Helper()
	release := debian.Release()
	read := func(path string) []byte {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(debian.Modules(), "kernel", path))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	dummy := read("drivers/net/dummy.ko")
	plain := unsigned(t, dummy)
	// changed is a module with every occurrence of a text replaced by another as long.
	changed := func(image []byte, from, to string) []byte {
		t.Helper()
		if len(from) != len(to) || !bytes.Contains(image, []byte(from)) {
			t.Fatalf("cannot make %q of %q in dummy.ko", to, from)
		}
		return bytes.ReplaceAll(image, []byte(from), []byte(to))
	}
	// versioned is a module built against another version of a symbol.
	versioned := func(symbol string) []byte {
		t.Helper()
		image := bytes.Clone(plain)
		at := bytes.Index(image, []byte("\x00"+symbol+"\x00\x00")) // in __versions: eight bytes with the version, then the name in 56
		for ; at >= 0 && (at+1)%8 != 0; at++ {
			next := bytes.Index(image[at+1:], []byte("\x00"+symbol+"\x00\x00"))
			if next < 0 {
				at = -2
				break
			}
			at += next
		}
		if at < 8 {
			t.Fatalf("dummy.ko has no version of %s", symbol)
		}
		image[at-7] ^= 0xff
		return image
	}
	signature, ok := parsed(t, dummy).Signature()
	if !ok {
		t.Fatal("Debian's dummy.ko is not signed")
	}
	otherKey := bytes.Clone(signature.Key)
	otherKey[len(otherKey)-1] ^= 0xff
	badSignature := bytes.Clone(dummy)
	badSignature[len(badSignature)-len("~Module signature appended~\n")-4] = 0x7f // its length
	// The kernel compares what stands behind the release; the release itself only with modules that have no versions of symbols.
	magic := func(image []byte) []byte { return changed(image, " SMP preempt mod_unload", " SMP PREEMPT mod_unload") }
	vermagic := func(image []byte) []byte {
		return changed(magic(image), "vermagic="+release+" ", "vermagic=9"+release[1:]+" ")
	}
	other := vermagic(plain)

	for name, image := range map[string][]byte{
		"copy.ko":            dummy,
		"unsigned.ko":        plain,
		"vermagic.ko":        other,
		"magic.ko":           magic(plain),
		"symbol.ko":          changed(plain, "register_netdevice\x00", "register_netdevicf\x00"),
		"version.ko":         versioned("register_netdevice"),
		"layout.ko":          versioned("module_layout"),
		"gpl.ko":             changed(plain, "license=GPL\x00", "license=XYZ\x00"),
		"changed.ko":         changed(dummy, "Number of dummy pseudo devices", "number of dummy pseudo devices"),
		"badsignature.ko":    badSignature,
		"unknownkey.ko":      changed(dummy, string(signature.Key), string(otherKey)),
		"other.ko":           modloadtest.Module{Name: "other", Machine: 183}.Image(),
		"bits32.ko":          modloadtest.Module{Name: "bits32", Machine: 3, Bits32: true}.Image(),
		"object.ko":          modloadtest.Module{Name: "object", Vermagic: release + " SMP preempt mod_unload modversions "}.Image(),
		"cut.ko":             plain[:len(plain)/2],
		"empty.ko":           nil,
		"null.ko":            make([]byte, 4096),
		"text.ko":            []byte("this is no module, and long enough to be looked at by whoever believes its name\n"),
		"dummy.ko.gz":        compressed(t, "gz", dummy),
		"dummy.ko.xz":        compressed(t, "xz", dummy),
		"dummy.ko.zst":       compressed(t, "zst", dummy),
		"zstd-inside.ko":     compressed(t, "zst", dummy),
		"plain-inside.ko.xz": dummy,
		"cut.ko.zst":         compressed(t, "zst", dummy)[:2000],
		"cut.ko.xz":          compressed(t, "xz", dummy)[:2000],
		"changed.ko.xz":      compressed(t, "xz", changed(dummy, "Number of dummy pseudo devices", "number of dummy pseudo devices")),
		"vermagic.ko.xz":     compressed(t, "xz", other),
	} {
		root.File("/root/"+name, string(image), 0o644)
	}
	for name, image := range map[string][]byte{
		"dummy.ko.zst": compressed(t, "zst", dummy),
		"tun.ko.xz":    compressed(t, "xz", read("drivers/net/tun.ko")),
		"brd.ko.gz":    compressed(t, "gz", read("drivers/block/brd.ko")),
		"vermagic.ko":  other,
		"symbol.ko":    changed(plain, "register_netdevice\x00", "register_netdevicf\x00"),
		"gone.ko":      plain,
		"garp.ko":      read("net/802/garp.ko"),
		"stp.ko":       vermagic(unsigned(t, read("net/802/stp.ko"))),
		"llc.ko":       read("net/llc/llc.ko"),
	} {
		root.File("/root/z/lib/modules/"+release+"/kernel/"+name, string(image), 0o644)
	}
}

func parsed(t *testing.T, image []byte) *modload.Module {
	t.Helper()
	m, err := modload.ParseModule(image)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// unsigned is a module without its signature. Format: the kernel's scripts/sign-file.c; see modload.Signature.
func unsigned(t *testing.T, image []byte) []byte {
	t.Helper()
	body, ok := bytes.CutSuffix(image, []byte("~Module signature appended~\n"))
	if !ok {
		t.Fatal("Debian's module is not signed")
	}
	return body[:len(body)-12-int(binary.BigEndian.Uint32(body[len(body)-4:]))]
}

func compressed(t *testing.T, format string, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	switch format {
	case "gz":
		w := gzip.NewWriter(&out)
		w.Write(data)
		w.Close()
	case "zst":
		w, err := zstd.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(data)
		w.Close()
	case "xz":
		c := exec.Command("xz", "--check=crc32", "--stdout")
		c.Stdin, c.Stdout = bytes.NewReader(data), &out
		if err := c.Run(); err != nil {
			t.Fatalf("xz: %v: run `make packages`", err)
		}
	}
	return out.Bytes()
}
