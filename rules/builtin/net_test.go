package builtin

import (
	"errors"
	"fmt"
	"log/slog"
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

func TestLinkModes(t *testing.T) {
	for text, want := range map[string]string{
		"BitsPerSecond=2500M\nDuplex=full\nPort=bnc":              "link modes [11]=0 [4]=2500 [8]=1 [9]=4",
		"BitsPerSecond=1G\nAutoNegotiation=yes\nMDI=straight":     "link modes [11]=1 [14]=1",
		"Advertise=1000baset-full autonegotiation\nDuplex=half":   "link modes [11]=1 advertise=[0x60 0x0 0x0]",
		"Advertise=100basefx-full\nAutoNegotiation=no\nMDI=auto":  "link modes [11]=1 [14]=3 advertise=[0x0 0x0 0x8000000]",
		"Advertise=nothing\nAutoNegotiation=perhaps\nPort=serial": "",
	} {
		n := &fakeNetwork{state: LinkState{Type: 1}}
		setUp(t, n, "", map[string]string{"10-x.link": "[Match]\nOriginalName=*\n[Link]\n" + text + "\n"})
		if got := strings.Join(n.ethtool, "\n"); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestWakeOnLAN(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("01:02:03:04:05:06\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"WakeOnLan=off":                            "wake on lan 0x0 []",
		"WakeOnLan=phy sesame magic":               "wake on lan 0x21 []",
		"WakeOnLan=phy\nWakeOnLan=\nWakeOnLan=arp": "wake on lan 0x10 []",
		"WakeOnLanPassword=" + password:            "wake on lan [1 2 3 4 5 6]",
		"WakeOnLanPassword=secret":                 "",
	} {
		f := &LinkFile{}
		f.Parse("10-x.link", []byte("[Match]\nOriginalName=*\n[Link]\n"+text+"\n"))
		all, _ := f.ethtoolSettings()
		got := ""
		if len(all) > 0 {
			got = fmt.Sprintf("%s %v", all[0], all[0].Secret)
		}
		if strings.Join(strings.Fields(got), " ") != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// What does not count is said once, with file and line.
func TestLinkFileProblems(t *testing.T) {
	dir := t.TempDir()
	text := "[Match]\nOriginalName=*\nShoeSize=42\n[Link]\nSpeed=1G\nMTUBytes=big\nDuplex=both\nRxCoalesceSec=soon\nLargeReceiveOffload=maybe\n" +
		"[SR-IOV]\nVirtualFunction=1\nVLANId=5000\n[SR-IOV]\nTrust=yes\n[SR-IOV]\nVirtualFunction=1\n[Wheels]\n"
	if err := os.WriteFile(dir+"/10-x.link", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	roots := netTree(t)
	dev, err := roots.Device(eth0)
	if err != nil {
		t.Fatal(err)
	}
	table := New(Options{Links: NewLinkFiles([]string{dir}, Machine{}), Network: &fakeNetwork{state: LinkState{Type: 1}}})
	for range 2 {
		said.Reset()
		call := &Call{Device: dev, Log: slog.New(slog.NewTextHandler(&said, nil)), Get: func(string) (string, bool) { return "", false }, Set: func(string, string) {}}
		if err := table.Run(t.Context(), "net_setup_link", call); err != nil {
			t.Fatal(err)
		}
	}
	news := table.opts.Links.News()
	if len(news) > 0 {
		t.Errorf("said again: %v", news)
	}
	table.opts.Links.Reload()
	table.opts.Links.Files()
	var got []string
	for _, p := range table.opts.Links.News() {
		got = append(got, strings.TrimPrefix(p.String(), dir+"/"))
	}
	want := []string{"10-x.link:3: unknown key ShoeSize in [Match]", "10-x.link:5: unknown key Speed in [Link]",
		"10-x.link:12: VLANId=5000 in [SR-IOV]: value out of range", "10-x.link:17: unknown section [Wheels]",
		"10-x.link:10: [SR-IOV] does not count: line 15 is about the same function", "10-x.link:13: [SR-IOV] does not count: it has no VirtualFunction="}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, w := range []string{":6: MTUBytes=big: out of range", ":7: Duplex=both: none of half full", ":8: RxCoalesceSec=soon: value out of range",
		":9: LargeReceiveOffload=maybe: neither yes nor no"} {
		if !strings.Contains(said.String(), "10-x.link"+w) {
			t.Errorf("%q is not in:\n%s", w, &said)
		}
	}
}

func TestVirtualFunctions(t *testing.T) {
	const card = "/devices/pci0000:00/0000:00:02.0/0000:01:00.0/virtio0/net/eth0"
	files := map[string]string{"10-x.link": "[Match]\nOriginalName=*\n[Link]\nName=pf\n[SR-IOV]\nVirtualFunction=0\nMACAddress=02:00:00:00:00:09\nVLANId=7\nQualityOfService=3\n" +
		"VLANProtocol=802.1ad\nMACSpoofCheck=yes\nQueryReceiveSideScaling=no\nTrust=on\nLinkState=no\n[SR-IOV]\nVirtualFunction=2\nLinkState=auto\n"}
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	roots := netTree(t)
	device := filepath.Join(roots.Sys, card, "device")
	if err := os.MkdirAll(device, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"sriov_numvfs": "0\n", "sriov_totalvfs": "8\n"} {
		if err := os.WriteFile(filepath.Join(device, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	n := &fakeNetwork{state: LinkState{Type: 1}}
	table := New(Options{Network: n, Links: NewLinkFiles([]string{dir}, Machine{})})
	if _, err := run(t, table, roots, card, "net_setup_link"); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(filepath.Join(device, "sriov_numvfs")); strings.TrimSpace(string(b)) != "3" {
		t.Errorf("%q functions, want as many as the file speaks of", b)
	}
	var got []string
	for _, c := range n.changes {
		got = append(got, c.Function.String())
	}
	want := []string{"function 0: address 020000000009, vlan 7, qos 3, protocol 0x88a8, switches map[4:1 5:2 7:0 9:1]",
		"function 2: address , vlan 0, qos 0, protocol 0x8100, switches map[5:0]"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(n.changes) == 0 {
		return
	}
	b, err := n.changes[0].encode()
	if err != nil {
		t.Fatal(err)
	}
	message := "78001680 74000180" + // IFLA_VFINFO_LIST, IFLA_VF_INFO
		"28000100 00000000 020000000009 0000000000000000000000000000000000000000000000000000" + // IFLA_VF_MAC
		"0c000400 00000000 01000000" + "0c000700 00000000 00000000" + "0c000900 00000000 01000000" + "0c000500 00000000 02000000" +
		"18000c80 14000100 00000000 07000000 03000000 88a80000" // IFLA_VF_VLAN_LIST
	if got := fmt.Sprintf("%x", b); got != strings.ReplaceAll(message, " ", "") {
		t.Errorf("message\n%s, want\n%s", got, strings.ReplaceAll(message, " ", ""))
	}
}

func TestPacketSteering(t *testing.T) {
	for text, want := range map[string]string{
		"0-2,4": "17", "0 33": "2,00000001", "disable": "0", "all": "f", "3\nReceivePacketSteeringCPUMask=1": "a",
		"1\nReceivePacketSteeringCPUMask=": "as it was", "2-1": "as it was", "99999": "as it was",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(dir+"/10-x.link", []byte("[Match]\nOriginalName=*\n[Link]\nReceivePacketSteeringCPUMask="+text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		roots := netTree(t)
		for name, text := range map[string]string{eth0 + "/queues/rx-0/rps_cpus": "as it was", "/devices/system/cpu/possible": "0-3\n"} {
			if err := os.MkdirAll(filepath.Dir(roots.Sys+name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(roots.Sys+name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		table := New(Options{Network: &fakeNetwork{state: LinkState{Type: 1}}, Links: NewLinkFiles([]string{dir}, Machine{})})
		if _, err := run(t, table, roots, eth0, "net_setup_link"); err != nil {
			t.Fatal(err)
		}
		if b, _ := os.ReadFile(roots.Sys + eth0 + "/queues/rx-0/rps_cpus"); string(b) != want {
			t.Errorf("%q: %s, want %s", text, b, want)
		}
	}
}

// What was kept of the interface comes first, then what the file says, then what is to go.
func TestPropertiesOfALinkFile(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"10-x.link":                "[Match]\nOriginalName=*\n[Link]\nImportProperty=ROLE SEEN NEVER\nProperty=ROLE=uplink \"NOTE=two words\"\n",
		"10-x.link.d/90-more.conf": "[Link]\nUnsetProperty=ID_PATH\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	roots := netTree(t)
	if err := os.MkdirAll(roots.Run+"/udev/data", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(roots.Run+"/udev/data/n2", []byte("I:1\nE:ROLE=old\nE:SEEN=1\nV:1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	dev, err := roots.Device(eth0)
	if err != nil {
		t.Fatal(err)
	}
	props := map[string]string{"ID_PATH": "pci-0000:01:00.0"}
	call := &Call{Device: dev, Get: func(k string) (string, bool) { v, ok := props[k]; return v, ok }, Set: func(k, v string) { props[k] = v }, Unset: func(k string) { delete(props, k) }}
	table := New(Options{Udev: 257, Network: &fakeNetwork{state: LinkState{Type: 1}}, Links: NewLinkFiles([]string{dir}, Machine{})})
	if err := table.Run(t.Context(), "net_setup_link", call); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"ROLE": "uplink", "NOTE": "two words", "SEEN": "1", "ID_NET_LINK_FILE": dir + "/10-x.link",
		"ID_NET_LINK_FILE_DROPINS": dir + "/10-x.link.d/90-more.conf", "ID_NET_NAME": "eth0"}
	if diff := cmp.Diff(want, props); diff != "" {
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
	f.Add("[SR-IOV]\nVirtualFunction=1\nVLANId=3\nTrust=1\nMACAddress=1:2:3:4:5:6\n[")
	f.Add("[Link]\nAdvertise=10baset-half\nMDI=mdix\nBitsPerSecond=1T\nWakeOnLanPassword=/etc/hostname\n")
	f.Fuzz(func(t *testing.T, text string) {
		file := &LinkFile{Path: "x.link"}
		file.Parse("x.link", []byte(text))
		file.checkFunctions()
		for _, v := range file.Functions {
			if _, err := (LinkChange{Function: &v}).encode(); err != nil {
				t.Error(err)
			}
		}
		file.holds(&Machine{Release: "6.1.0", CommandLine: "a=b"})
		file.ethtoolSettings()
	})
}
