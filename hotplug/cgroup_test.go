package hotplug

import "testing"

func TestTheOwnCgroupIsFoundWhereverItIsMounted(t *testing.T) {
	const other = "29 24 0:25 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs rw\n31 29 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
	for _, c := range []struct{ mounts, own, want string }{
		{other + "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n", "0::/system.slice/kudev.service\n", "/sys/fs/cgroup/system.slice/kudev.service"},
		{other + "30 24 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", "9:name=systemd:/x\n0::/\n", "/sys/fs/cgroup/unified"},
		{"30 24 0:26 /box /sys/fs/cgroup rw - cgroup2 none rw\n", "0::/box/a\n", "/sys/fs/cgroup/a"},
		{"30 24 0:26 /box /sys/fs/cgroup rw - cgroup2 none rw\n", "0::/boxes/a\n", ""}, // outside of what is mounted
		{other, "0::/\n", ""},
		{"30 24 0:26 / /sys/fs/cgroup rw - cgroup2 none rw\n", "4:memory:/x\n", ""},
		{"", "", ""},
	} {
		got, err := ownCgroup(c.mounts, c.own)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q in %q: %q, %v", c.own, c.mounts, got, err)
		}
	}
}
