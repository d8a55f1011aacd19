//go:build system

package builtin

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/hotplug"
)

// linkFiles are applied to a TAP device, which has no hardware and does what drivers do.
var linkFiles = []string{
	"Name=lan0",
	"Description=all by itself\nMTUBytes=1400\nAlias=the first\nMACAddress=02:00:00:00:00:01\nTransmitQueueLength=77",
	"BitsPerSecond=1G",
	"BitsPerSecond=2500000001\nDuplex=half\nPort=fibre",
	"BitsPerSecond=1G\nDuplex=half\nAutoNegotiation=yes",
	"AutoNegotiation=no",
	"AutoNegotiation=perhaps\nDuplex=both\nPort=lpt1\nMDI=sideways\nBitsPerSecond=fast",
	"Advertise=1000baset-full 10000baset-full fec-none nonsense\nBitsPerSecond=1G",
	"Advertise=10baset-half\nAdvertise=\nAdvertise=100basefx-full",
	"MDI=crossover",
	"RxMaxCoalescedFrames=16\nRxCoalesceSec=50us",
	"RxMaxCoalescedFrames=16",
	"RxMaxCoalescedFrames=sixteen",
	"GenericReceiveOffload=no\nTCPSegmentationOffload=no\nTransmitChecksumOffload=maybe",
	"GenericSegmentOffloadMaxBytes=4K\nGenericSegmentOffloadMaxSegments=100",
	"AlternativeName=eins zwei\nAlternativeName=drei",
	"NoSuchKey=1\nMTUBytes=1300",
	"RxChannels=max\nRxBufferSize=max\nWakeOnLan=magic\nRxFlowControl=yes",
	"WakeOnLan=off",
	"WakeOnLan=phy unicast broadcast arp magic secureon\nWakeOnLanPassword=01:02:03:04:05:06",
	"WakeOnLanPassword=01:02:03:04:05:06",
	"RxBufferSize=512\nTxBufferSize=max",
	"RxBufferSize=0",
	"CombinedChannels=1\nTxChannels=0",
	"AutoNegotiationFlowControl=no\nTxFlowControl=no\nRxFlowControl=no",
	"RxCoalesceSec=20us\nStatisticsBlockCoalesceSec=0",
	"Advertise=100baset-full 10baset-full autonegotiation",
	"BitsPerSecond=100M\nDuplex=full\nPort=tp",
	"AutoNegotiation=yes\nMDI=auto",
	"ReceiveVLANCTAGHardwareAcceleration=no\nTransmitVLANCTAGHardwareAcceleration=no\nReceiveVLANCTAGFilter=no\nNTupleFilter=yes",
	"LargeReceiveOffload=no\nGenericReceiveOffloadHardware=no\nReceiveChecksumOffload=no\nGenericSegmentationOffload=no",
	"LargeReceiveOffload=yes\nTCP6SegmentationOffload=no\nTransmitChecksumOffload=no",
}

// TestLinkFilesOnTheKernel applies .link files to a device of the kernel's, by Debian's `udevadm test-builtin` and by us,
// and compares what has become of it.
func TestLinkFilesOnTheKernel(t *testing.T) {
	udev := debianUdev(t)
	inNamespaces(t, func() error { return applyLinkFiles(t, udev) })
}

// applyLinkFiles applies each file to two fresh interfaces.
func applyLinkFiles(t *testing.T, udev func(string, ...string) []string) error {
	const name = "kt0"
	const file = "/run/systemd/network/10-test.link"
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	changed := 0
	for _, text := range linkFiles {
		if err := os.WriteFile(file, []byte("[Match]\nOriginalName=*\n[Link]\n"+text+"\n"), 0o644); err != nil {
			return err
		}
		var state [2][]string
		for who := range state {
			done, err := newTAP(name)
			if err != nil {
				return err
			}
			before, err := linkState(name)
			if err != nil {
				return err
			}
			if who == 0 {
				state[who] = udev("bin/udevadm", "test-builtin", "--action=add", "net_setup_link", "/sys/class/net/"+name)
			} else if state[who], err = setUpForReal(name); err != nil {
				return err
			}
			after, err := linkState(name)
			if err != nil {
				return err
			}
			if who == 0 && !cmp.Equal(before, after) {
				changed++
			}
			state[who] = append(state[who], after...)
			done()
		}
		if diff := cmp.Diff(state[0], state[1]); diff != "" {
			t.Errorf("%q (-udev +kudev):\n%s", text, diff)
		}
	}
	t.Logf("udev changed something for %d of %d files", changed, len(linkFiles))
	if changed < 10 {
		t.Errorf("udev changed something for %d of %d files only", changed, len(linkFiles))
	}
	return nil
}

// The kernel takes the message about virtual functions apart before it finds that the device has none.
func TestVirtualFunctionsMessage(t *testing.T) {
	inNamespaces(t, func() error {
		close, err := newTAP("kt0")
		if err != nil {
			return err
		}
		defer close()
		dev, err := hotplug.Roots{}.Device("/devices/virtual/net/kt0")
		if err != nil {
			return err
		}
		for _, v := range []VirtualFunction{
			{Number: 1, Address: []byte{2, 0, 0, 0, 0, 9}},
			{Number: 1, VLAN: 5, QoS: 3, VLANProtocol: unix.ETH_P_8021Q},
			{Number: 1, Switches: map[uint16]uint32{unix.IFLA_VF_TRUST: 1}},
			{Number: 1, Switches: map[uint16]uint32{unix.IFLA_VF_SPOOFCHK: 1}},
			{Number: 1, Switches: map[uint16]uint32{unix.IFLA_VF_LINK_STATE: 2}},
			{Number: 1, Switches: map[uint16]uint32{unix.IFLA_VF_RSS_QUERY_EN: 1}},
		} {
			if err := (kernelNetwork{}).Change(dev.Ifindex(), LinkChange{Function: &v}); !errors.Is(err, unix.EOPNOTSUPP) {
				t.Errorf("%s: %v, want that it is not supported", &v, err)
			}
		}
		return nil
	})
}

// inNamespaces runs f with a network, a /sys and a /run of its own.
func inNamespaces(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and takes its namespaces along
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
				return fmt.Errorf("namespaces: %w: run the test as root: sudo -E go test -tags system ./rules/builtin", err)
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return err
			}
			if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
				return fmt.Errorf("mount /sys: %w", err)
			}
			if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
				return fmt.Errorf("mount /run: %w", err)
			}
			return f()
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// newTAP makes an Ethernet interface that is there until it is closed.
func newTAP(name string) (closeIt func(), err error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return nil, fmt.Errorf("make a TAP device: %w", err)
	}
	return func() { unix.Close(fd) }, nil
}

func setUpForReal(name string) ([]string, error) {
	dev, err := hotplug.Roots{}.DeviceByName("net", name)
	if err != nil {
		return nil, err
	}
	table := New(Options{Links: NewLinkFiles([]string{"/run/systemd/network"}, Machine{})})
	var got []string
	err = table.Run(context.Background(), "net_setup_link", &Call{Device: dev,
		Get: func(string) (string, bool) { return "", false },
		Set: func(k, v string) { got = append(got, k+"="+v) }})
	return got, err
}

// linkState is what the kernel says of the interface. A TAP's address is random unless set.
func linkState(name string) ([]string, error) {
	var state []string
	for _, a := range []string{"mtu", "ifalias", "tx_queue_len", "addr_assign_type", "gro_flush_timeout"} {
		b, err := os.ReadFile("/sys/class/net/" + name + "/" + a)
		state = append(state, fmt.Sprintf("%s %q %v", a, b, err))
	}
	address, err := os.ReadFile("/sys/class/net/" + name + "/address")
	if assigned, _ := os.ReadFile("/sys/class/net/" + name + "/addr_assign_type"); string(assigned) == "3\n" {
		state = append(state, fmt.Sprintf("address %q %v", address, err))
	}
	e, err := openEthtool(name)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	b := newRequest(ethtoolGLINK, 48+3*4*127)
	if err := e.request(b); err != nil {
		return nil, err
	}
	b[linkMaskWords] = -b[linkMaskWords]
	words := 3 * int(b[linkMaskWords])
	binary.NativeEndian.PutUint32(b, ethtoolGLINK)
	state = append(state, fmt.Sprintf("link %v %x", e.request(b), b[:48+4*words]))
	b = newRequest(ethtoolGCOALESCE, 92)
	state = append(state, fmt.Sprintf("coalescing %v %x", e.request(b), b))
	b = newRequest(ethtoolGFEATURES, 8+16*4)
	binary.NativeEndian.PutUint32(b[4:], 4)
	state = append(state, fmt.Sprintf("features %v %x", e.request(b), b))
	for what, words := range map[string]int{"wake": ethtoolGWOL<<8 | 5, "rings": ethtoolGRINGPARAM<<8 | 9, "pause": ethtoolGPAUSE<<8 | 4, "channels": ethtoolGCHANNELS<<8 | 9} {
		b := newRequest(uint32(words>>8), words&0xff*4)
		state = append(state, fmt.Sprintf("%s %v %x", what, e.request(b), b))
	}
	slices.Sort(state)
	dev, err := hotplug.Roots{}.DeviceByName("net", name)
	if err != nil {
		return nil, err
	}
	msgs, err := rtnl(unix.RTM_GETLINK, 0, ifinfo(dev.Ifindex()))
	if err != nil {
		return nil, err
	}
	d, err := netlink.NewAttributeDecoder(msgs[0].Data[unix.SizeofIfInfomsg:])
	if err != nil {
		return nil, err
	}
	for d.Next() {
		if d.Type() == unix.IFLA_GSO_MAX_SIZE || d.Type() == unix.IFLA_GSO_MAX_SEGS {
			state = append(state, fmt.Sprintf("segmentation %d: %d", d.Type(), d.Uint32()))
		}
	}
	s, err := kernelNetwork{}.State(dev.Ifindex(), name)
	return append(state, fmt.Sprintf("alternative names %q", s.AltNames)), err
}
