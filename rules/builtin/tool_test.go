package builtin

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/hotplug/hotplugtest"
)

// fakeNode answers SCSI commands from a table by the command's first bytes in hexadecimal, and requests by their number.
type fakeNode struct {
	scsi   map[string][]byte
	sense  map[string][]byte
	ioctls map[uint][]byte
	ints   map[uint]int
	asked  []string
}

func (f *fakeNode) Close() error                          { return nil }
func (f *fakeNode) Size() (int64, error)                  { return 0, nil }
func (f *fakeNode) ReadAt(p []byte, _ int64) (int, error) { return 0, io.EOF }
func (f *fakeNode) IoctlInt(r uint, _ uintptr) (int, error) {
	if v, ok := f.ints[r]; ok {
		return v, nil
	}
	return 0, unix.ENOTTY
}
func (f *fakeNode) Ioctl(r uint, b []byte) (int, error) {
	if v, ok := f.ioctls[r]; ok {
		copy(b, v)
		return 0, nil
	}
	return 0, unix.ENOTTY
}
func (f *fakeNode) SCSI(c *SCSICommand) error {
	if c.V4 {
		return unix.EINVAL
	}
	cdb := hex.EncodeToString(c.CDB)
	f.asked = append(f.asked, cdb)
	for prefix, data := range f.scsi {
		if strings.HasPrefix(cdb, prefix) {
			c.Residual = len(c.Data) - copy(c.Data, data)
			c.Sense = f.sense[prefix]
			return nil
		}
	}
	c.Status, c.Sense = 2, make([]byte, 18)
	c.Sense[0], c.Sense[2], c.Sense[12] = 0x70, 5, 0x20
	return nil
}

// tool runs a helper program on a device and returns its lines.
func tool(t *testing.T, node Node, name string, args ...string) ([]string, error) {
	t.Helper()
	roots := hotplugtest.Tree(t, "/devices/x/sda subsystem=block dev=8:0\n\tuevent DEVNAME=sda\n")
	return toolIn(t, roots, node, name, args...)
}

func toolIn(t *testing.T, roots hotplug.Roots, node Node, name string, args ...string) ([]string, error) {
	t.Helper()
	dev, err := roots.Device("/devices/x/sda")
	if err != nil {
		t.Fatal(err)
	}
	table := New(Options{Open: func(*hotplug.Device, int) (Node, error) { return node, nil }})
	run, ok := table.Tool("/lib/udev/" + name)
	if !ok {
		t.Fatalf("there is no %s", name)
	}
	var out bytes.Buffer
	err = run(context.Background(), &Call{Device: dev, Args: args}, args, &out)
	return strings.FieldsFunc(out.String(), func(r rune) bool { return r == '\n' }), err
}

func want(t *testing.T, got []string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !slices.Contains(got, l) {
			t.Errorf("%q is missing in %q", l, got)
		}
	}
}

// swapText puts a text into IDENTIFY data.
func swapText(b []byte, word, length int, s string) {
	s += strings.Repeat(" ", length-len(s))
	for i := 0; i < length; i += 2 {
		b[2*word+i], b[2*word+i+1] = s[i+1], s[i]
	}
}

func ataDisk() *fakeNode {
	id := make([]byte, 512)
	put := func(word int, v uint16) { binary.LittleEndian.PutUint16(id[2*word:], v) }
	swapText(id, 27, 40, "QEMU HARDDISK")
	swapText(id, 10, 20, "QM00001")
	swapText(id, 23, 8, "2.5+")
	put(76, 6)
	put(82, 1<<5|1)
	put(85, 1<<5)
	put(217, 1)
	put(108, 0x5000)
	put(109, 0xc500)
	put(111, 0x1234)
	sense := make([]byte, 22)
	sense[0], sense[8], sense[9] = 0x72, 9, 0x0c
	return &fakeNode{scsi: map[string][]byte{"12": make([]byte, 36), "a1": id}, sense: map[string][]byte{"a1": sense}}
}

func TestATADisk(t *testing.T) {
	n := ataDisk()
	got, err := tool(t, n, "ata_id", "--export", "/dev/sda")
	if err != nil {
		t.Fatal(err)
	}
	want(t, got, "ID_ATA=1", "ID_TYPE=disk", "ID_BUS=ata", "ID_MODEL=QEMU_HARDDISK", `ID_MODEL_ENC=QEMU\x20HARDDISK`+strings.Repeat(`\x20`, 27),
		"ID_REVISION=2.5+", "ID_SERIAL=QEMU_HARDDISK_QM00001", "ID_SERIAL_SHORT=QM00001", "ID_ATA_WRITE_CACHE=1", "ID_ATA_WRITE_CACHE_ENABLED=1",
		"ID_ATA_FEATURE_SET_SMART=1", "ID_ATA_FEATURE_SET_SMART_ENABLED=0", "ID_ATA_SATA=1", "ID_ATA_SATA_SIGNAL_RATE_GEN1=1",
		"ID_ATA_SATA_SIGNAL_RATE_GEN2=1", "ID_ATA_ROTATION_RATE_RPM=0", "ID_WWN=0x5000c50000001234")
	if got, _ := tool(t, ataDisk(), "ata_id", "/dev/sda"); !slices.Equal(got, []string{"QEMU_HARDDISK_QM00001"}) {
		t.Errorf("without --export: %q", got)
	}
}

func TestATACommandNeverGoesToABurner(t *testing.T) {
	n := ataDisk()
	n.scsi["12"] = []byte{5}
	if _, err := tool(t, n, "ata_id", "-x", "/dev/sda"); err == nil {
		t.Error("a burner without IDENTIFY PACKET DEVICE says nothing")
	}
	for _, cdb := range n.asked {
		if strings.HasPrefix(cdb, "a1") {
			t.Errorf("command %s would blank the disc", cdb)
		}
	}
}

func scsiDisk() *fakeNode {
	inquiry := append(make([]byte, 8), "ATA     WDC WD10EZEX    1A01"...)
	page83 := []byte{0, 0x83, 0, 0,
		2, 0, 0, 8, 'W', 'D', '-', '1', '2', '3', '4', '5', // vendor specific, ASCII
		1, 3, 0, 16, 0x60, 0x05, 0x07, 0x68, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, // NAA 6
		1, 0x15, 0, 4, 0, 0, 0x12, 0x34, // target port group
	}
	page83[3] = byte(len(page83) - 4)
	return &fakeNode{scsi: map[string][]byte{
		"120000": inquiry, "120100": {0, 0, 0, 3, 0, 0x80, 0x83}, "120180": append([]byte{0, 0x80, 0, 8}, "SERIAL01"...), "120183": page83}}
}

func TestSCSIDisk(t *testing.T) {
	got, err := tool(t, scsiDisk(), "scsi_id", "--export", "--allowlisted", "-d", "/dev/sda")
	if err != nil {
		t.Fatal(err)
	}
	want(t, got, "ID_SCSI=1", "ID_VENDOR=ATA", `ID_VENDOR_ENC=ATA\x20\x20\x20\x20\x20`, "ID_MODEL=WDC_WD10EZEX", "ID_REVISION=1A01", "ID_TYPE=disk",
		"ID_SERIAL=3600507680102030405060708090a0b0c", "ID_SERIAL_SHORT=600507680102030405060708090a0b0c", "ID_WWN=0x6005076801020304",
		"ID_WWN_VENDOR_EXTENSION=0x05060708090a0b0c", "ID_WWN_WITH_EXTENSION=0x600507680102030405060708090a0b0c", "ID_TARGET_PORT=1234",
		"ID_SCSI_SERIAL=SERIAL01")

	got, err = tool(t, scsiDisk(), "scsi_id", "-gu", "--page=0x80", "/dev/sda")
	if err != nil || !slices.Equal(got, []string{"SATA_WDC_WD10EZEX_SERIAL01"}) {
		t.Errorf("page 0x80: %q, %v", got, err)
	}
	if _, err := tool(t, scsiDisk(), "scsi_id", "-x", "-d", "/dev/sda"); err == nil {
		t.Error("without --allowlisted a device is not allowed")
	}
	if _, err := tool(t, scsiDisk(), "scsi_id", "--nonsense", "-d", "/dev/sda"); err == nil {
		t.Error("an unknown option is a failure")
	}
}

func TestSCSIConfig(t *testing.T) {
	config := filepath.Join(t.TempDir(), "scsi_id.config")
	id := func(text string, args ...string) string {
		if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := tool(t, scsiDisk(), "scsi_id", append([]string{"--config=" + config}, append(args, "/dev/sda")...)...)
		if err != nil {
			return err.Error()
		}
		return strings.Join(got, " ")
	}
	const by83, by80 = "3600507680102030405060708090a0b0c", "SATA     WDC WD10EZEX    SERIAL01"
	for text, want := range map[string]string{
		"# nothing\n":               "the device is not allowed: --allowlisted is missing",
		"options=-g":                by83,
		"vendor=\"ATA\",options=-g": by83,
		"vendor=\"IBM\",options=-g\nvendor=ATA,model=\"WDC WD\",options=-g -p 0x80": by80,
		"options=-g\nvendor=ATA,options=-b":                                         "the device is not allowed: --allowlisted is missing",
		"options=-g\nmodel=x,options=-g":                                            by83,
		"model=x,options=-g":                                                        config + ":1: not [vendor=…[,model=…],]options=…",
	} {
		if got := id(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	if got := id("", "-b", "-gu"); got != "3600507680102030405060708090a0b0c" {
		t.Errorf("the later option counts more: %s", got)
	}
	if got := id("options=-g", "-b"); !strings.Contains(got, "not allowed") {
		t.Errorf("the command line counts more: %s", got)
	}
}

func TestCDROM(t *testing.T) {
	profiles := []byte{0, 0, 0, 20, 0, 0, 0, 8, 0, 0, 3, 8, 0, 0x10, 0, 0, 0, 8, 1, 0}
	toc := []byte{0, 18, 1, 1, 0, 4, 1, 0, 0, 0, 0, 0, 0, 4, 0xaa, 0, 0, 0, 1, 0}
	info := make([]byte, 32)
	info[2], info[4], info[6] = 0x0e, 1, 1
	n := &fakeNode{scsi: map[string][]byte{"12": {5}, "46": profiles, "43": toc, "51": info},
		ints: map[uint]int{cdromGetCapability: 0x8000 | 0x2000, cdromDriveStatus: 4}}
	got, err := tool(t, n, "cdrom_id", "/dev/sda")
	if err != nil {
		t.Fatal(err)
	}
	want(t, got, "ID_CDROM=1", "ID_CDROM_CD=1", "ID_CDROM_DVD=1", "ID_CDROM_CD_R=1", "ID_CDROM_MEDIA=1", "ID_CDROM_MEDIA_CD=1",
		"ID_CDROM_MEDIA_SESSION_COUNT=1", "ID_CDROM_MEDIA_TRACK_COUNT=1", "ID_CDROM_MEDIA_TRACK_COUNT_DATA=1")

	n = &fakeNode{scsi: map[string][]byte{"12": {5}, "46": {0, 0, 0, 4, 0, 0, 0, 0}}, ints: map[uint]int{cdromGetCapability: 0, cdromDriveStatus: 1}}
	got, err = tool(t, n, "cdrom_id", "--lock-media", "/dev/sda")
	if err != nil || !slices.Equal(got, []string{"ID_CDROM=1"}) {
		t.Errorf("without a disc: %q, %v", got, err)
	}
	if _, err := tool(t, &fakeNode{}, "cdrom_id", "/dev/sda"); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("not an optical drive: %v", err)
	}
}

func TestV4L(t *testing.T) {
	b := make([]byte, 104)
	copy(b[16:], "A Camera")
	binary.NativeEndian.PutUint32(b[84:], 1<<31|0xff)
	binary.NativeEndian.PutUint32(b[88:], 0x1000|0x20000)
	got, err := tool(t, &fakeNode{ioctls: map[uint][]byte{0x80685600: b}}, "v4l_id", "/dev/sda")
	if err != nil || !slices.Equal(got, []string{"ID_V4L_VERSION=2", "ID_V4L_PRODUCT=A Camera", "ID_V4L_CAPABILITIES=:capture:audio:"}) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestSecurityToken(t *testing.T) {
	for _, c := range []struct {
		desc string
		want bool
		bad  bool
	}{
		{"06d0f10901a1", true, false},
		{"05010906", false, false},
		{"fe03aa010203" + "06d0f10901", true, false},
		{"06d0", false, true},
		{"", false, true},
	} {
		b, _ := hex.DecodeString(c.desc)
		if got, err := isSecurityToken(b); got != c.want || (err != nil) != c.bad {
			t.Errorf("%s: %v, %v", c.desc, got, err)
		}
	}
}

func TestMemoryModules(t *testing.T) {
	roots := hotplugtest.Tree(t, "/devices/x/sda subsystem=block\n")
	array := []byte{16, 0x17, 0, 0x10, 3, 3, 6, 0, 0, 0, 2, 0xfe, 0xff, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	device := make([]byte, 0x22)
	copy(device, []byte{17, 0x22, 0, 0x11, 0, 0x10, 0, 0, 72, 0, 64, 0, 0, 0x40, 9, 0, 1, 2, 0x1a, 0x80, 0x20, 0x60, 9, 3})
	device = append(device, "DIMM 0\x00 BANK \x00ACME\x00\x00"...)
	table := append(append(array, device...), 127, 4, 0xff, 0xff, 0, 0)
	entry := []byte{'_', 'S', 'M', '3', '_', 0, 24, 3, 0, 0, 1, 0, byte(len(table)), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	sum := byte(0)
	for _, c := range entry {
		sum += c
	}
	entry[5] = -sum
	dir := filepath.Join(roots.Sys, "firmware/dmi/tables")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"smbios_entry_point": entry, "DMI": table} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := toolIn(t, roots, nil, "dmi_memory_id")
	if err != nil {
		t.Fatal(err)
	}
	want(t, got, "MEMORY_ARRAY_LOCATION=System Board Or Motherboard", "MEMORY_ARRAY_EC_TYPE=Multi-bit ECC", "MEMORY_ARRAY_MAX_CAPACITY=34359738368",
		"MEMORY_ARRAY_NUM_DEVICES=1", "MEMORY_DEVICE_0_SIZE=17179869184", "MEMORY_DEVICE_0_LOCATOR=DIMM 0", "MEMORY_DEVICE_0_BANK_LOCATOR=BANK",
		"MEMORY_DEVICE_0_TYPE=DDR4", "MEMORY_DEVICE_0_FORM_FACTOR=DIMM", "MEMORY_DEVICE_0_SPEED_MTS=2400", "MEMORY_DEVICE_0_MANUFACTURER=ACME",
		"MEMORY_DEVICE_0_TYPE_DETAIL=Synchronous Registered (Buffered)", "MEMORY_DEVICE_0_TOTAL_WIDTH=72")
	entry[5]++
	if err := os.WriteFile(filepath.Join(dir, "smbios_entry_point"), entry, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := toolIn(t, roots, nil, "dmi_memory_id"); err == nil {
		t.Error("a wrong checksum was taken")
	}
}

func FuzzTools(f *testing.F) {
	f.Add([]byte("06d0f1"))
	f.Add([]byte("vendor=\"ATA\",model=MO,options=-g -p 0x80\noptions=-b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = isSecurityToken(b)
		var d dmi
		d.table(b, 0)
		_, _, _ = dmiEntryPoint(b)
		if own, err := findSCSIOptions("x", string(b), "ATA     ", "MODEL"); err == nil {
			isAllowed(own)
		}
		_, _ = parseACL(b)
		s := &scsiDevice{n: &fakeNode{scsi: map[string][]byte{"120000": b, "1201": b}}}
		if s.inquire() == nil {
			s.identify("")
			s.identify("pre-spc3-83")
			s.export(&printer{})
		}
		c := &cdrom{n: &fakeNode{scsi: map[string][]byte{"": b}}, media: featureDVDRAM, state: -1}
		c.profiles()
		c.contents()
		c.info()
		c.oldDrive()
		c.print(&printer{})
	})
}
