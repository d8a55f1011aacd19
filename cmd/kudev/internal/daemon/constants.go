package daemon

import (
	"os"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// constants are what CONST{…} matches: the machine as systemd names it. See udev(7), systemd.unit(5) ConditionArchitecture
// and systemd-detect-virt(1).
type constants struct {
	path func(string) string // where a path of the machine lies
	virt func() string
}

func newConstants(path func(string) string) *constants {
	c := &constants{path: path}
	c.virt = sync.OnceValue(c.detect)
	return c
}

func (c *constants) Const(key string) string {
	switch key {
	case "arch":
		return architecture()
	case "virt":
		return c.virt()
	case "cvm":
		return c.confidential()
	}
	return ""
}

func architecture() string {
	switch runtime.GOARCH {
	case "amd64":
		return "x86-64"
	case "386":
		return "x86"
	case "arm64", "arm", "riscv64", "s390x", "loong64":
		if runtime.GOARCH == "loong64" {
			return "loongarch64"
		}
		return runtime.GOARCH
	case "ppc64le":
		return "ppc64-le"
	case "mips64le":
		return "mips64-le"
	case "mipsle":
		return "mips-le"
	}
	return runtime.GOARCH
}

// detect tells a container by what its manager left, and a virtual machine by its firmware's tables.
func (c *constants) detect() string {
	if name, err := os.ReadFile(c.path("/run/systemd/container")); err == nil {
		return strings.TrimSpace(string(name))
	}
	if env, err := os.ReadFile(c.path("/proc/1/environ")); err == nil {
		for kv := range strings.SplitSeq(string(env), "\x00") {
			if name, ok := strings.CutPrefix(kv, "container="); ok && name != "" {
				return name
			}
		}
	}
	for _, f := range [...]string{"product_name", "sys_vendor", "board_vendor", "bios_vendor"} {
		text, err := os.ReadFile(c.path("/sys/class/dmi/id/" + f))
		if err != nil {
			continue
		}
		for _, v := range [...][2]string{
			{"KVM", "kvm"}, {"OpenStack", "kvm"}, {"KubeVirt", "kvm"}, {"Amazon EC2", "amazon"}, {"QEMU", "qemu"},
			{"VMware", "vmware"}, {"VMW", "vmware"}, {"innotek GmbH", "oracle"}, {"VirtualBox", "oracle"}, {"Oracle Corporation", "oracle"},
			{"Xen", "xen"}, {"Bochs", "bochs"}, {"Parallels", "parallels"}, {"BHYVE", "bhyve"}, {"Hyper-V", "microsoft"},
			{"Virtual Machine", "microsoft"}, {"Apple Virtualization", "apple"}, {"Google Compute Engine", "google"},
		} {
			if strings.HasPrefix(string(text), v[0]) {
				return v[1]
			}
		}
	}
	if text, err := os.ReadFile(c.path("/sys/hypervisor/type")); err == nil {
		return strings.TrimSpace(string(text))
	}
	if flags, err := os.ReadFile(c.path("/proc/cpuinfo")); err == nil && strings.Contains(string(flags), " hypervisor ") {
		return "vm-other"
	}
	return "none"
}

func (c *constants) confidential() string {
	switch {
	case exists(c.path("/dev/tdx_guest")):
		return "tdx"
	case exists(c.path("/dev/sev-guest")):
		return "sev-snp"
	}
	return "none"
}

func exists(name string) bool {
	var st unix.Stat_t
	return unix.Lstat(name, &st) == nil
}
