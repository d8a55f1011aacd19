package builtin

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/hotplug/hotplugtest"
)

// fakeNetwork is a kernel with one state, which keeps what it is asked to change.
type fakeNetwork struct {
	state   LinkState
	err     error
	changes []LinkChange
	ethtool []string
}

func (f *fakeNetwork) State(int, string) (LinkState, error) { return f.state, f.err }
func (f *fakeNetwork) Change(_ int, c LinkChange) error {
	f.changes = append(f.changes, c)
	return nil
}
func (f *fakeNetwork) Ethtool(_ string, s EthtoolSetting) error {
	f.ethtool = append(f.ethtool, s.String())
	return nil
}

const nic = `
/devices/pci0000:00/0000:00:02.0 subsystem=pci
	modalias pci:v00001B36d0000000Csv00001B36sd00000000bc06sc04i00
/devices/pci0000:00/0000:00:02.0/0000:01:00.0 subsystem=pci
	acpi_index 1
	label Onboard LAN
/devices/pci0000:00/0000:00:02.0/0000:01:00.0/virtio0 subsystem=virtio
/devices/pci0000:00/0000:00:02.0/0000:01:00.0/virtio0/net/eth0 subsystem=net
	uevent INTERFACE=eth0
	uevent IFINDEX=2
	ifindex 2
	iflink 2
	type 1
	address 52:54:00:12:34:56
	addr_assign_type 0
	name_assign_type 1
/devices/pci0000:00/0000:00:14.0 subsystem=pci
/devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2.3/1-2.3:2.1 subsystem=usb
	uevent DEVTYPE=usb_interface
/devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2.3/1-2.3:2.1/net/wlan0 subsystem=net
	uevent IFINDEX=3
	uevent DEVTYPE=wlan
	ifindex 3
	iflink 3
	type 1
	address 00:00:00:12:34:56
	addr_assign_type 3
/devices/virtual/net/vlan1 subsystem=net
	uevent IFINDEX=4
	ifindex 4
	iflink 2
	type 1
/devices/platform/HISI00C2:01 subsystem=platform
/devices/platform/HISI00C2:01/net/eth1 subsystem=net
	uevent IFINDEX=5
	ifindex 5
	iflink 5
	type 1
`

const eth0 = "/devices/pci0000:00/0000:00:02.0/0000:01:00.0/virtio0/net/eth0"

func netTree(t testing.TB) hotplug.Roots {
	roots := hotplugtest.Tree(t, nic)
	for slot, address := range map[string]string{"3": "0000:01:00", "7": "0000:00:14"} {
		dir := filepath.Join(roots.Sys, "bus/pci/slots", slot)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/address", []byte(address+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return roots
}

func TestPredictableNames(t *testing.T) {
	roots := netTree(t)
	check(t, roots, eth0, "net_id", "ID_NET_NAMING_SCHEME=v252", "ID_NET_NAME_MAC=enx525400123456", "ID_NET_NAME_ONBOARD=eno1",
		"ID_NET_LABEL_ONBOARD=Onboard LAN", "ID_NET_NAME_PATH=enp1s0", "ID_NET_NAME_SLOT=ens3")
	check(t, roots, "/devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2.3/1-2.3:2.1/net/wlan0", "net_id", "ID_NET_NAMING_SCHEME=v252",
		"ID_NET_NAME_PATH=wlp0s20u2u3c2i1", "ID_NET_NAME_SLOT=wls7u2u3c2i1")
	check(t, roots, "/devices/platform/HISI00C2:01/net/eth1", "net_id", "ID_NET_NAMING_SCHEME=v252", "ID_NET_NAME_PATH=enahisic2i1")
	got, err := run(t, New(Options{}), roots, "/devices/virtual/net/vlan1", "net_id")
	if len(got) > 0 || err != nil {
		t.Errorf("a VLAN has no predictable name: %q, %v", got, err)
	}
}

func TestNamingSchemeOfTheCommandLine(t *testing.T) {
	for line, want := range map[string]string{"": "v252", "quiet net.naming-scheme=v247 ro": "v247", "net.naming-scheme=latest": "v252", "net.naming-scheme=v999": "v252"} {
		if got := namingScheme(line).name; got != want {
			t.Errorf("%q: %s, want %s", line, got, want)
		}
	}
	if namingScheme("net.naming-scheme=v239").has(namingInfiniband) || !namingScheme("").has(namingDevicetree|namingSRIOV) {
		t.Error("a scheme has what came before it and nothing that came after")
	}
}

// setUp runs net_setup_link on eth0 with these .link files.
func setUp(t *testing.T, network Network, commandLine string, files map[string]string, have ...string) []string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	links := NewLinkFiles([]string{dir}, Machine{MachineID: "0123456789abcdef0123456789abcdef", Hostname: "box", Release: "6.1.0-5-amd64"})
	got, err := run(t, New(Options{Links: links, Network: network, CommandLine: commandLine}), netTree(t), eth0, "net_setup_link", have...)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		got[i] = strings.ReplaceAll(got[i], dir+"/", "")
	}
	return got
}

const debianDefault = `
# As Debian ships it.
[Match]
OriginalName=*

[Link]
NamePolicy=keep kernel database onboard slot path
AlternativeNamesPolicy=database onboard slot path
MACAddressPolicy=persistent
`

var names = []string{"ID_NET_NAME_ONBOARD=eno1", "ID_NET_NAME_SLOT=ens3", "ID_NET_NAME_PATH=enp1s0", "ID_NET_NAME_MAC=enx525400123456"}

func TestDefaultLinkFile(t *testing.T) {
	n := &fakeNetwork{state: LinkState{Type: 1, Driver: "virtio_net", Address: []byte{0x52, 0x54, 0, 0x12, 0x34, 0x56}, AltNames: []string{"ens3"}}}
	got := setUp(t, n, "", map[string]string{"99-default.link": debianDefault}, names...)
	want := []string{"ID_NET_DRIVER=virtio_net", "ID_NET_LINK_FILE=99-default.link", "ID_NET_NAME=eno1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(n.changes) != 1 || !slices.Equal(n.changes[0].AltNames, []string{"eno1", "enp1s0"}) || n.changes[0].Address != nil {
		t.Errorf("changes: %+v", n.changes)
	}
}

func TestNetIfnames0KeepsTheName(t *testing.T) {
	n := &fakeNetwork{state: LinkState{Type: 1}}
	got := setUp(t, n, "net.ifnames=0", map[string]string{"99-default.link": debianDefault}, names...)
	if !slices.Contains(got, "ID_NET_NAME=eth0") {
		t.Errorf("got %q", got)
	}
}

func TestLinkFileMatches(t *testing.T) {
	n := &fakeNetwork{state: LinkState{Type: 1, Driver: "virtio_net", Address: []byte{0x52, 0x54, 0, 0x12, 0x34, 0x56}}}
	name := "\n[Link]\nName=lan\n"
	for _, c := range []struct {
		match string
		want  bool
	}{
		{"MACAddress=52:54:00:12:34:56", true},
		{"MACAddress=00:11:22:33:44:55 5254.0012.3456", true},
		{"MACAddress=00:11:22:33:44:55", false},
		{"Driver=virtio* e1000e", true},
		{"Driver=!virtio* e1000e", false},
		{"Driver=!r8169", true},
		{"Type=ether", true},
		{"Type=wlan", false},
		{"Kind=*", false},
		{"OriginalName=eth* \\\n  en*", true},
		{"OriginalName=eth*\nOriginalName=\nOriginalName=en*", false},
		{"Path=pci-0000:01:*", true},
		{"Property=ID_NET_NAME_SLOT=ens? \"A=b c\"", true},
		{"Property=!A=x", true},
		{"Property=A=x", false},
		{"OriginalName=*\nHost=box", true},
		{"OriginalName=*\nHost=!b*", false},
		{"OriginalName=*\nHost=01234567-89ab-cdef-0123-456789abcdef", true},
		{"OriginalName=*\nKernelVersion=>=6.1 <6.10", true},
		{"OriginalName=*\nKernelVersion=< 6.1", false},
		{"OriginalName=*\nVirtualization=no", true},
		{"OriginalName=*\nVirtualization=vm", false},
		{"", false},
		{"Nonsense=x", false},
	} {
		got := setUp(t, n, "", map[string]string{"10-x.link": "[Match]\n" + c.match + name},
			append(names, "ID_PATH=pci-0000:01:00.0", "A=b c")...)
		if slices.Contains(got, "ID_NET_NAME=lan") != c.want {
			t.Errorf("%s: %q, want a match: %v", c.match, got, c.want)
		}
	}
}

func TestLinkFileSettings(t *testing.T) {
	n := &fakeNetwork{state: LinkState{Type: 1, Address: []byte{0x52, 0x54, 0, 0x12, 0x34, 0x56}}}
	setUp(t, n, "", map[string]string{
		"10-x.link": "[Match]\nOriginalName=*\n[Link]\nMTUBytes=9K\nAlias=the first\nMACAddress=02:00:00:00:00:01\nTransmitQueues=5000\nAlternativeName=lan wan lan\n",
		"10-x.link.d/50-more.conf": "[Link]\nMTUBytes=1500\nRxChannels=max\nTxCoalesceSec=50us\nUseAdaptiveRxCoalesce=yes\nTCPSegmentationOffload=no\n" +
			"GenericReceiveOffload=on\nWakeOnLan=phy magic\nRxFlowControl=true\n",
	})
	if len(n.changes) != 1 {
		t.Fatalf("changes: %+v", n.changes)
	}
	c := n.changes[0]
	if c.MTU == nil || *c.MTU != 1500 || c.Alias != "the first" || c.TxQueues != nil || fmt.Sprintf("%x", c.Address) != "020000000001" ||
		!slices.Equal(c.AltNames, []string{"lan", "wan"}) {
		t.Errorf("change: %+v", c)
	}
	want := []string{"wake on lan 0x21", "features rx-gro=true tx-tcp-segmentation=false", "channels [5]=4294967295", "flow control [2]=1", "coalescing [10]=1 [5]=50"}
	if diff := cmp.Diff(want, n.ethtool); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPersistentAddressOfAVirtualInterface(t *testing.T) {
	n := &fakeNetwork{state: LinkState{Type: 1, Address: []byte{2, 0, 0, 0, 0, 9}}}
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/99-default.link", []byte(debianDefault), 0o644); err != nil {
		t.Fatal(err)
	}
	roots := hotplugtest.Tree(t, "/devices/virtual/net/br0 subsystem=net\n\tuevent IFINDEX=9\n\tifindex 9\n\taddr_assign_type 1\n\tname_assign_type 3\n")
	address := func(id string) string {
		n.changes = nil
		table := New(Options{Network: n, Links: NewLinkFiles([]string{dir}, Machine{MachineID: id})})
		got, err := run(t, table, roots, "/devices/virtual/net/br0", "net_setup_link")
		if err != nil || !slices.Contains(got, "ID_NET_NAME=br0") {
			t.Fatalf("%q, %v", got, err)
		}
		if len(n.changes) == 0 {
			return ""
		}
		return fmt.Sprintf("%x", n.changes[0].Address)
	}
	a, b := address("0123456789abcdef0123456789abcdef"), address("f123456789abcdef0123456789abcdef")
	if a == "" || a == b || a != address("0123456789abcdef0123456789abcdef") {
		t.Errorf("addresses %q and %q", a, b)
	}
	if first := a[1]; !strings.ContainsRune("26ae", rune(first)) {
		t.Errorf("%s is not a local unicast address", a)
	}
	if address("") != "" {
		t.Error("without the machine's ID there is nothing stable")
	}
}

// The vector of the reference implementation: key 00…0f, message 00…0e.
func TestSipHash(t *testing.T) {
	var key [16]byte
	for i := range key {
		key[i] = byte(i)
	}
	if got := sipHash(key, key[:15]); got != 0xa129ca6149be45e5 {
		t.Errorf("%#x", got)
	}
}

func TestInterfaceThatHasGone(t *testing.T) {
	got := setUp(t, &fakeNetwork{err: fmt.Errorf("ask: %w", unix.ENODEV)}, "", map[string]string{"99-default.link": debianDefault})
	if len(got) > 0 {
		t.Errorf("got %q", got)
	}
	if !errors.Is(fmt.Errorf("x: %w", ErrNothing), ErrNothing) {
		t.Error("ErrNothing does not unwrap")
	}
}

func FuzzLinkFile(f *testing.F) {
	f.Add(debianDefault)
	f.Add("[Match]\nOriginalName=\"a b\" 'c\n[Link]\nMACAddress=1.2.3\nRxCoalesceSec=1e99s\nWakeOnLan=x\\\n")
	f.Add("[SR-IOV]\nVirtualFunction=1\n[")
	f.Fuzz(func(t *testing.T, text string) {
		file := &LinkFile{Path: "x.link"}
		file.Parse("x.link", []byte(text))
		file.holds(&Machine{Release: "6.1.0", CommandLine: "a=b"})
		file.ethtoolSettings()
	})
}
