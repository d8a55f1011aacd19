package modload

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// kernelFiles are a fake machine's files in the initial namespaces of a kernel with modules.
func kernelFiles(more map[string]string) map[string]string {
	files := map[string]string{
		"proc/self/ns/user":                         "-> user:[4026531837]",
		"proc/self/ns/pid":                          "-> pid:[4026531836]",
		"proc/1/root":                               "-> /",
		"proc/sys/kernel/modprobe":                  "/sbin/modprobe\n",
		"sys/module/firmware_class/parameters/path": "\n",
		"store/lib/modules/6.1.0/modules.dep":       "",
		"store/lib/firmware/":                       "",
		"other/lib/modules/6.1.0/modules.dep":       "",
	}
	for name, content := range more {
		files[name] = content
		if content == "" && !strings.HasSuffix(name, "/") {
			delete(files, name)
		}
	}
	return files
}

func claim(t *testing.T, c *Config) *Claim {
	t.Helper()
	h, err := c.Claim()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.lock.Close() })
	return h
}

// kill ends a claim as kill -9 does: the kernel drops the lock, and nothing else happens.
func (h *Claim) kill() { h.lock.Close() }

func (c *Config) kernelHas(t *testing.T, file, want string) {
	t.Helper()
	if got, err := c.readKernel(file); err != nil || got != want {
		t.Errorf("%s holds %q (%v), want %q", file, got, err, want)
	}
}

func TestASecondDaemonFindsTheFirst(t *testing.T) {
	c := resolve(t, machine(t, nil))
	if c.DaemonPid() != 0 {
		t.Error("a daemon runs before there is one")
	}
	h := claim(t, c)
	_, err := c.Claim()
	var held *HeldError
	if !errors.As(err, &held) || held.Pid != os.Getpid() || err.Error() != "another kudev daemon runs already: pid "+strconv.Itoa(os.Getpid()) {
		t.Error(err)
	}
	if c.DaemonPid() != os.Getpid() {
		t.Error("DaemonPid is", c.DaemonPid())
	}
	if err := h.Release(); err != nil {
		t.Error(err)
	}
	claim(t, c)
}

func TestOthersFollowTheRecordWhileTheDaemonLives(t *testing.T) {
	o := machine(t, kernelFiles(nil))
	started := o
	started.Flags = []Flag{{Setting: "module_root", Value: "/store"}}
	h := claim(t, resolve(t, started))

	c := resolve(t, o)
	if c.Root() != "/store" || c.Daemon() != os.Getpid() || c.Conflict() != nil || len(c.Overrides()) > 0 {
		t.Error(c.Root(), c.Daemon(), c.Conflict(), c.Overrides())
	}
	pid := strconv.Itoa(os.Getpid())
	if got := origin(t, c, "module_root"); got != "/store (record of daemon "+pid+": flag --module-root)" {
		t.Error(got)
	}

	o.Flags = []Flag{{"module_root", "/other", "-d"}}
	c = resolve(t, o)
	if c.Root() != "/other" || c.Conflict() != nil {
		t.Error("a flag was not obeyed:", c.Root(), c.Conflict())
	}
	if got := c.Overrides(); len(got) != 1 || got[0] != "-d /other is obeyed; the daemon (pid "+pid+") has /store (flag --module-root)" {
		t.Error(got)
	}

	own := o
	own.Flags, own.Daemon = nil, true
	if c = resolve(t, own); c.Roots()[0] != "/" || c.Daemon() != 0 {
		t.Error("who is to be the daemon follows another:", c.Roots(), c.Daemon())
	}

	h.kill()
	o.Flags = nil
	if c = resolve(t, o); c.Daemon() != 0 || c.Roots()[0] != "/" {
		t.Error("a dead daemon's record was followed:", c.Roots())
	}
	o.KernelRequest = true
	if c = resolve(t, o); c.Root() != "/store" {
		t.Error("the kernel's request does not go by the record:", c.Root())
	}
	os.Rename(filepath.Join(o.SystemRoot, "store"), filepath.Join(o.SystemRoot, "moved"))
	os.Rename(filepath.Join(o.SystemRoot, "other/lib"), filepath.Join(o.SystemRoot, "lib"))
	if c = resolve(t, o); c.Root() != "/" || c.Roots()[0] != "/" {
		t.Error("the kernel's request stays with a tree that is gone:", c.Root())
	}
}

func TestAnImplicitDifferenceIsAConflict(t *testing.T) {
	pid := strconv.Itoa(os.Getpid())
	for _, test := range []struct {
		name     string
		daemon   Options
		conf     string
		linked   string
		conflict string
	}{
		{"nothing said", Options{}, "", "", ""},
		{"the daemon has a flag, nobody said anything else", Options{Flags: []Flag{{Setting: "module_root", Value: "/store"}}}, "", "", ""},
		{"the file changed since", Options{}, "module_root=/other", "",
			"module_root is /other here (/etc/kudev/kudev.conf:1) and / in the running daemon (default, pid " + pid + "): restart the daemon, or say with --module-root which one is meant"},
		{"another default linked in", Options{LinkedRoot: "/store"}, "", "/other",
			"module_root is /other here (linked in) and /store in the running daemon (linked in, pid " + pid + "): restart the daemon, or say with --module-root which one is meant"},
		{"no default linked in", Options{LinkedRoot: "/store"}, "", "",
			"module_root is / here (default) and /store in the running daemon (linked in, pid " + pid + "): restart the daemon, or say with --module-root which one is meant"},
		{"the same by another way", Options{LinkedRoot: "/store"}, "module_root=/store", "", ""},
		{"the daemon has a flag, the file says otherwise", Options{Flags: []Flag{{Setting: "module_root", Value: "/store"}}}, "module_root=/other", "",
			"module_root is /other here (/etc/kudev/kudev.conf:1) and /store in the running daemon (flag --module-root, pid " + pid + "): restart the daemon, or say with --module-root which one is meant"},
		{"the firmware path", Options{}, "firmware_path=/fw", "",
			"firmware_path is /fw here (/etc/kudev/kudev.conf:1) and empty in the running daemon (default, pid " + pid + "): restart the daemon, or say with --firmware-path which one is meant"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := machine(t, kernelFiles(map[string]string{"etc/kudev/": ""}))
			daemon := o
			daemon.Flags, daemon.LinkedRoot = test.daemon.Flags, test.daemon.LinkedRoot
			h := claim(t, resolve(t, daemon))
			if err := os.WriteFile(filepath.Join(o.SystemRoot, ConfigFile), []byte(test.conf), 0o644); err != nil {
				t.Fatal(err)
			}
			o.LinkedRoot = test.linked
			c := resolve(t, o)
			got := ""
			if err := c.Conflict(); err != nil {
				got = err.Error()
			}
			if got != test.conflict {
				t.Errorf("conflict: %s\nwant: %s", got, test.conflict)
			}
			if c.Tree() != h.record.Tree {
				t.Error("readers do not go by the record:", c.Tree())
			}
			o.KernelRequest = true
			if c := resolve(t, o); c.Tree() != h.record.Tree {
				t.Error("the kernel's request does not go by the record:", c.Tree())
			}
		})
	}
}

func TestADamagedRecordIsSaidAndNotFollowed(t *testing.T) {
	o := machine(t, nil)
	claim(t, resolve(t, o))
	os.WriteFile(filepath.Join(o.SystemRoot, RunDir, "record"), []byte("{"), 0o644)
	c := resolve(t, o)
	if p := c.Problems(); len(p) != 1 || !strings.HasPrefix(p[0].Error(), "/run/kudev: /run/kudev/record: ") || c.Daemon() != 0 {
		t.Error(p, c.Daemon())
	}
}

func TestAPredecessorsRecordIsNotTheStartingDaemons(t *testing.T) {
	o := machine(t, nil)
	h := claim(t, resolve(t, o))
	h.record.Pid = 1 << 21
	if err := h.record.write(&o); err != nil {
		t.Fatal(err)
	}
	if c := resolve(t, o); c.Daemon() != 0 {
		t.Error("followed the record of", c.Daemon())
	}
}

func TestRunThatCannotBeWrittenIsAClearMessage(t *testing.T) {
	o := machine(t, map[string]string{"run": "a file"})
	_, err := resolve(t, o).Claim()
	if err == nil || !strings.HasPrefix(err.Error(), "claim /run/kudev: mkdir ") || !strings.HasSuffix(err.Error(), "not a directory") {
		t.Error(err)
	}
}

func TestRegisterAndRelease(t *testing.T) {
	o := machine(t, kernelFiles(map[string]string{"etc/kudev/kudev.conf": "module_root=/store"}))
	c := resolve(t, o)
	h := claim(t, c)
	if err := h.Register(); err != nil {
		t.Fatal(err)
	}
	c.kernelHas(t, modprobeFile, "/run/kudev/modprobe")
	c.kernelHas(t, firmwareFile, "/store/lib/firmware")
	if !h.Registered() {
		t.Error("not registered, it says")
	}
	program, _ := os.Executable()
	if target, err := os.Readlink(c.Path(KernelProgram)); err != nil || target != program {
		t.Error(target, err)
	}
	if err := h.Release(); err != nil {
		t.Error(err)
	}
	c.kernelHas(t, modprobeFile, "/sbin/modprobe")
	c.kernelHas(t, firmwareFile, "")
	left, _ := os.ReadDir(c.Path(RunDir))
	if len(left) != 1 || left[0].Name() != "lock" {
		t.Error("left behind:", left)
	}
}

func TestASuccessorRestoresWhatWasThereBeforeAnyKudev(t *testing.T) {
	o := machine(t, kernelFiles(map[string]string{
		"etc/kudev/kudev.conf":                      "module_root=/store\nfirmware_path=/fw",
		"proc/sys/kernel/modprobe":                  "/nix/store/kmod/bin/modprobe\n",
		"sys/module/firmware_class/parameters/path": "/vendor\n",
	}))
	c := resolve(t, o)
	for range 3 {
		h := claim(t, c)
		if err := h.Register(); err != nil {
			t.Fatal(err)
		}
		c.kernelHas(t, firmwareFile, "/fw")
		h.kill()
	}
	h := claim(t, c)
	if err := h.Register(); err != nil {
		t.Fatal(err)
	}
	if err := h.Release(); err != nil {
		t.Error(err)
	}
	c.kernelHas(t, modprobeFile, "/nix/store/kmod/bin/modprobe")
	c.kernelHas(t, firmwareFile, "/vendor")
}

func TestWhatCannotBeGivenBackIsLeftToASuccessor(t *testing.T) {
	c := resolve(t, machine(t, kernelFiles(map[string]string{"proc/sys/kernel/modprobe": "/nix/store/kmod/bin/modprobe\n"})))
	h := claim(t, c)
	if err := h.Register(); err != nil {
		t.Fatal(err)
	}
	file := c.Path(modprobeFile)
	if err := errors.Join(os.Rename(file, file+".away"), os.Mkdir(file, 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := h.Release(); err == nil {
		t.Error("no error")
	}
	if err := errors.Join(os.Remove(file), os.Rename(file+".away", file)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(c.Path(KernelProgram)); err != nil {
		t.Error("what the kernel goes on calling is gone:", err)
	}
	if err := claim(t, c).Release(); err != nil {
		t.Error(err)
	}
	c.kernelHas(t, modprobeFile, "/nix/store/kmod/bin/modprobe")
}

func TestOurOwnPathIsNeverTheOneRestored(t *testing.T) {
	o := machine(t, kernelFiles(map[string]string{"proc/sys/kernel/modprobe": KernelProgram + "\n"}))
	c := resolve(t, o)
	h := claim(t, c)
	if err := h.Register(); err != nil {
		t.Fatal(err)
	}
	if err := h.Release(); err != nil {
		t.Error(err)
	}
	c.kernelHas(t, modprobeFile, "/sbin/modprobe")
}

func TestWhatSomeoneElseWroteSinceStays(t *testing.T) {
	c := resolve(t, machine(t, kernelFiles(nil)))
	h := claim(t, c)
	if err := h.Register(); err != nil {
		t.Fatal(err)
	}
	c.writeKernel(modprobeFile, "/admin/modprobe")
	if err := h.Release(); err != nil {
		t.Error(err)
	}
	c.kernelHas(t, modprobeFile, "/admin/modprobe")
}

func TestAFirmwarePathThatOnlyFollowsFromTheRootGivesWay(t *testing.T) {
	o := machine(t, kernelFiles(map[string]string{
		"etc/kudev/kudev.conf":                      "module_root=/store",
		"sys/module/firmware_class/parameters/path": "/vendor\n",
	}))
	c := resolve(t, o)
	h := claim(t, c)
	if err := h.Register(); err != nil {
		t.Fatal(err)
	}
	c.kernelHas(t, firmwareFile, "/vendor")
}

func TestNotRegistered(t *testing.T) {
	for _, test := range []struct{ name, file, content, why string }{
		{"user namespace", "proc/self/ns/user", "-> user:[4026532000]", "in a user namespace of its own (user:[4026532000])"},
		{"PID namespace", "proc/self/ns/pid", "-> pid:[4026532001]", "in a pid namespace of its own (pid:[4026532001])"},
		{"no /proc", "proc/self", "x", "cannot tell the namespaces: "},
		{"another root", "proc/1/root", "-> /nowhere", "init sees another file at "},
		{"switched off in the kernel", "proc/sys/kernel/modprobe", "\n", "/proc/sys/kernel/modprobe is empty, that is, switched off: kernel_requests = on overrides it"},
		{"switched off in kudev.conf", "etc/kudev/kudev.conf", "kernel_requests = off", "kernel_requests is off (/etc/kudev/kudev.conf:1)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := kernelFiles(map[string]string{test.file: test.content})
			if test.file == "proc/self" {
				delete(files, "proc/self/ns/user")
				delete(files, "proc/self/ns/pid")
			}
			c := resolve(t, machine(t, files))
			h := claim(t, c)
			before, _ := c.readKernel(modprobeFile)
			err := h.Register()
			if !errors.Is(err, ErrNotRegistered) || !strings.Contains(err.Error(), test.why) {
				t.Error(err)
			}
			c.kernelHas(t, modprobeFile, before)
			if _, err := os.Lstat(c.Path(KernelProgram)); err == nil {
				t.Error("the link was left")
			}
			if err := h.Release(); err != nil {
				t.Error(err)
			}
			c.kernelHas(t, modprobeFile, before)
		})
	}
}

func TestAKernelWithoutModulesIsNormal(t *testing.T) {
	o := machine(t, map[string]string{"proc/self/ns/mnt": "-> mnt:[1]"}) // no namespaces either
	h := claim(t, resolve(t, o))
	if err := h.Register(); err != nil || h.Registered() {
		t.Error(err, h.Registered())
	}
	if err := h.Release(); err != nil {
		t.Error(err)
	}
}
