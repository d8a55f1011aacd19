//go:build system

package hotplug_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/hotplug/hotplugtest"
)

// A /dev that is no devtmpfs: nodes are made and removed, and what has another number is somebody else's.
func TestNodesAreMadeWhereTheKernelDoesNot(t *testing.T) {
	roots := hotplugtest.Tree(t, "/devices/virtual/test/x subsystem=test dev=1:3\n\tuevent DEVNAME=sub/dir/x\n\tuevent DEVMODE=0640\n")
	s, err := hotplug.OpenStore(roots, hotplug.StoreOptions{MakeNodes: true})
	must(t, err)
	ev := hotplugtest.Event(t, roots, "add", "/devices/virtual/test/x")
	var applied *hotplug.Applied
	do := func(ev *hotplug.Event) (err error) {
		applied, err = s.Apply(t.Context(), ev, roots.EventDevice(ev), &hotplug.Result{})
		return err
	}
	if err := do(ev); err != nil {
		t.Fatalf("%v: run the test as root: sudo -E go test -tags system ./hotplug/...", err)
	}
	node := roots.Dev + "/sub/dir/x"
	info, err := os.Lstat(node)
	if err != nil || info.Mode() != fs.ModeDevice|fs.ModeCharDevice|0o640 {
		t.Fatalf("node is %v, %v", info, err)
	}
	if dev, err := roots.DeviceByNode("/dev/char/1:3"); err != nil || dev.Sysname() != "x" {
		t.Errorf("by its link it is %v, %v", dev, err)
	}
	remove := hotplugtest.Event(t, roots, "remove", "/devices/virtual/test/x")
	must(t, do(remove))
	if names, _ := os.ReadDir(roots.Dev); len(names) != 0 {
		t.Errorf("left: %v", names)
	}
	must(t, os.MkdirAll(roots.Dev+"/sub/dir", 0o755))
	must(t, unix.Mknod(node, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))))
	must(t, do(ev))
	if err := applied.Others; err == nil || !strings.Contains(err.Error(), "char 1:5: left alone") {
		t.Errorf("another device's node: %v", err)
	}
	must(t, do(remove))
	if info, err := os.Lstat(node); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("another device's node is %v, %v", info, err)
	}
}

// A label is given when the device is added, to the node and for the module that the rule names.
func TestSecurityLabels(t *testing.T) {
	roots := hotplugtest.Tree(t, "/devices/virtual/test/x subsystem=test dev=1:3\n\tuevent DEVNAME=x\n")
	s, err := hotplug.OpenStore(roots, hotplug.StoreOptions{MakeNodes: true})
	must(t, err)
	do := func(action string, labels map[string]string) error {
		ev := hotplugtest.Event(t, roots, action, "/devices/virtual/test/x")
		_, err := s.Apply(t.Context(), ev, roots.EventDevice(ev), &hotplug.Result{Node: hotplug.NodeResult{SecLabel: labels}})
		return err
	}
	label := func(attr string) string {
		var b [64]byte
		n, err := unix.Lgetxattr(roots.Dev+"/x", attr, b[:])
		if err != nil {
			return err.Error()
		}
		return string(b[:n])
	}
	if err := do("add", map[string]string{"selinux": "system_u:object_r:null_device_t:s0", "smack": "*"}); err != nil {
		t.Fatalf("%v: run the test as root: sudo -E go test -tags system ./hotplug/...", err)
	}
	if got := label("security.selinux"); got != "system_u:object_r:null_device_t:s0" {
		t.Errorf("SELinux's label is %s", got)
	}
	if got := label("security.SMACK64"); got != "*" {
		t.Errorf("SMACK's label is %s", got)
	}
	must(t, do("change", map[string]string{"smack": "_"}))
	if got := label("security.SMACK64"); got != "*" {
		t.Errorf("a change made SMACK's label %s", got)
	}
	if err := do("add", map[string]string{"tomoyo": "x"}); err == nil || !strings.Contains(err.Error(), "SECLABEL{tomoyo}: no such security module") {
		t.Errorf("another module: %v", err)
	}
	must(t, do("remove", nil))
	must(t, unix.Mount("ramfs", roots.Dev, "ramfs", 0, "")) // has no labels
	defer unix.Unmount(roots.Dev, unix.MNT_DETACH)
	if err := do("add", map[string]string{"selinux": "x"}); err != nil || label("security.selinux") == "x" {
		t.Errorf("where there are no labels: %v", err)
	}
}

func TestStaticNodesAreMade(t *testing.T) {
	roots := hotplugtest.Tree(t, "")
	nodes, err := hotplug.ParseStaticNodes("tun net/tun c10:200\nloop loop9 b7:9\n")
	must(t, err)
	for range 2 {
		must(t, roots.MakeStaticNodes(nodes))
	}
	if got := strings.Join(kept(t, roots), "\n"); !strings.HasPrefix(got, "dev/loop9 Drw------- 0\ndev/net/tun Dcrw------- 0") {
		t.Errorf("got\n%s", got)
	}
}

func TestFullDiskIsSaidForTheDevice(t *testing.T) {
	roots := disks(t, "sda", "sdb")
	must(t, unix.Mount("tmpfs", roots.Run, "tmpfs", 0, "size=64k,nr_inodes=40"))
	t.Cleanup(func() { _ = unix.Unmount(roots.Run, unix.MNT_DETACH) })
	s := store(t, roots)
	apply(t, s, roots, "add", "sda", &hotplug.Result{Tags: []string{"before"}})
	must(t, os.WriteFile(roots.Run+"/fill", make([]byte, 48<<10), 0o600))
	ev := hotplugtest.Event(t, roots, "change", "/devices/virtual/block/sda")
	big := hotplug.Property{Key: "BIG", Value: strings.Repeat("x", 30<<10), Stored: true}
	applied, err := s.Apply(t.Context(), ev, roots.EventDevice(ev), &hotplug.Result{Links: []string{"made"}, Properties: []hotplug.Property{big}})
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "record b8:0") {
		t.Errorf("got %v", err)
	}
	if target(t, roots.Dev+"/made") != "sda" || len(applied.Links) != 1 {
		t.Error("the link was not made")
	}
	if text := read(t, roots.Run+"/udev/data/b8:0"); !strings.Contains(text, "G:before") {
		t.Errorf("the old record is not whole:\n%s", text)
	}
	for _, name := range kept(t, roots) {
		if strings.Contains(name, ".#") {
			t.Errorf("left: %s", name)
		}
	}
	must(t, os.Remove(roots.Run+"/fill"))
	apply(t, s, roots, "change", "sda", &hotplug.Result{Properties: []hotplug.Property{big}})
}

// bridge makes an interface in a namespace and returns its index.
func bridge(t *testing.T, conn *netlink.Conn, name string) int {
	t.Helper()
	kind, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.IFLA_INFO_KIND, Data: []byte("bridge")}})
	must(t, err)
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.IFLA_IFNAME, Data: append([]byte(name), 0)}, {Type: unix.IFLA_LINKINFO | unix.NLA_F_NESTED, Data: kind},
	})
	must(t, err)
	_, err = conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_NEWLINK, Flags: netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Excl},
		Data:   append(make([]byte, unix.SizeofIfInfomsg), attrs...),
	})
	must(t, err)
	return index(t, conn, name)
}

func index(t *testing.T, conn *netlink.Conn, name string) int {
	t.Helper()
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.IFLA_IFNAME, Data: append([]byte(name), 0)}})
	must(t, err)
	replies, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request}, Data: append(make([]byte, unix.SizeofIfInfomsg), attrs...),
	})
	if err != nil || len(replies) == 0 {
		return 0
	}
	return int(binary.NativeEndian.Uint32(replies[0].Data[4:]))
}

func TestInterfacesSwapTheirNames(t *testing.T) {
	net := hotplugtest.NewNet(t)
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: net.FD})
	must(t, err)
	defer conn.Close()
	// Two swap, three pass theirs round, one follows where another has left.
	wishes := map[string]string{"a0": "a1", "a1": "a0", "b0": "b1", "b1": "b2", "b2": "b0", "c0": "c1", "c1": "c2"}
	had := make(map[string]int)
	for name := range wishes {
		had[name] = bridge(t, conn, name)
	}
	r := &hotplug.Renamer{NetNS: net.FD, Wait: 30 * time.Second}
	var wg sync.WaitGroup
	for from, to := range wishes {
		wg.Go(func() {
			if err := r.Rename(context.Background(), had[from], from, to); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for from, to := range wishes {
		if got := index(t, conn, to); got != had[from] {
			t.Errorf("%s is interface %d, want %d, which was %s", to, got, had[from], from)
		}
	}
}

func TestNameThatIsNotGivenUpIsAnError(t *testing.T) {
	net := hotplugtest.NewNet(t)
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: net.FD})
	must(t, err)
	defer conn.Close()
	a := bridge(t, conn, "a0")
	bridge(t, conn, "taken")
	r := &hotplug.Renamer{NetNS: net.FD, Wait: 20 * time.Millisecond}
	err = r.Rename(t.Context(), a, "a0", "taken")
	if !errors.Is(err, unix.EEXIST) || !strings.Contains(err.Error(), "rename a0 to taken: interface") {
		t.Errorf("got %v", err)
	}
	if index(t, conn, "a0") != a {
		t.Error("it lost its own name")
	}
	for _, name := range []string{"", "a name much too long", "sl/ash"} {
		if err := r.Rename(t.Context(), a, "a0", name); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
}

// A .link file gives the name as an alternative one first; see systemd.link(5), AlternativeNamesPolicy=.
func TestAlternativeNameBecomesTheName(t *testing.T) {
	net := hotplugtest.NewNet(t)
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: net.FD})
	must(t, err)
	defer conn.Close()
	a := bridge(t, conn, "a0")
	e := netlink.NewAttributeEncoder()
	e.Nested(unix.IFLA_PROP_LIST, func(list *netlink.AttributeEncoder) error {
		list.String(unix.IFLA_ALT_IFNAME, "enp1s0")
		return nil
	})
	attrs, err := e.Encode()
	must(t, err)
	data := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(data[4:], uint32(a))
	_, err = conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_NEWLINKPROP, Flags: netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Excl | netlink.Append},
		Data:   append(data, attrs...),
	})
	must(t, err)
	r := &hotplug.Renamer{NetNS: net.FD, Wait: 20 * time.Millisecond}
	must(t, r.Rename(t.Context(), a, "a0", "enp1s0"))
	if index(t, conn, "enp1s0") != a || index(t, conn, "a0") != 0 {
		t.Error("it was not renamed")
	}
}
