package builtin

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/rules/builtin/blkid"
)

// blkid sets what lies on a block device: ID_FS_*, ID_PART_TABLE_*, and ID_PART_ENTRY_* of a partition. A device with
// nothing on it gets nothing, and the import holds; one that contradicts itself fails it.
func (t *Table) blkid(ctx context.Context, call *Call) error {
	var offsetText, hint string
	var noraid bool
	if err := options(call.Args, map[string]*string{"o": &offsetText, "offset": &offsetText, "H": &hint, "hint": &hint},
		map[string]*bool{"R": &noraid, "noraid": &noraid}, nil); err != nil {
		return err
	}
	var offset, session int64
	haveSession := false
	if offsetText != "" {
		var err error
		if offset, err = strconv.ParseInt(offsetText, 0, 64); err != nil || offset < 0 {
			return fmt.Errorf("offset %q makes no sense", offsetText)
		}
	}
	if hint != "" {
		name, value, has := strings.Cut(hint, "=")
		if has {
			var err error
			if session, err = strconv.ParseInt(value, 10, 64); err != nil || session < 0 {
				return fmt.Errorf("hint %q makes no sense", hint)
			}
		}
		haveSession = name == "session_offset"
		if !haveSession {
			session = 0
		}
	}
	dev := call.Device
	if private(attr(dev, "dm/uuid")) {
		return nil
	}
	node, err := t.opts.Open(dev, unix.O_RDONLY|unix.O_NONBLOCK)
	if absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer node.Close()
	file, isFile := node.(*fileNode)
	if isFile {
		_ = unix.Fadvise(file.fd, 0, 0, unix.FADV_RANDOM) // superblocks are far from each other: nothing is to be read ahead
	}
	size, err := node.Size()
	if err != nil {
		return err
	}
	opts := blkid.Options{SectorSize: sectorSize(dev), WholeDisk: !hasAttr(dev, "partition") && !isPart(attr(dev, "dm/uuid")),
		NoRAID: noraid, Session: session, Zoned: strings.HasPrefix(attr(dev, "queue/zoned"), "host-")}
	if opts.WholeDisk && size > 1440<<10 && attr(dev, "dm/uuid") == "" {
		if size, err = opticalDisc(node, size, &opts, haveSession || offset != 0); err != nil {
			return err
		}
	}
	if isFile && !opts.CDROM {
		readEnds(file.fd, size)
	}
	if offset > size {
		return fmt.Errorf("offset %d lies beyond the device's end", offset)
	}
	var r io.ReaderAt = node
	if offset > 0 {
		r = io.NewSectionReader(node, offset, size-offset)
		size -= offset
	}
	if !opts.WholeDisk {
		entry, close := t.partEntry(dev)
		defer close()
		opts.Entry = entry
	}
	values, err := blkid.Probe(r, size, opts)
	if err != nil {
		return err
	}
	root, haveRoot := call.Get("ID_PART_GPT_AUTO_ROOT_UUID")
	for _, v := range values {
		setBlkid(call, v.Key, v.Value)
		switch {
		case v.Key == "PTTYPE" && v.Value == "gpt":
			defer t.gptRoot(call, r, size, opts.SectorSize)
		case haveRoot && v.Key == "PART_ENTRY_UUID" && v.Value == root:
			call.Set("ID_PART_GPT_AUTO_ROOT", "1")
		}
	}
	return ctx.Err()
}

// readEnds has the kernel read the half megabyte at the begin and that at the end, of which a probe looks at nearly all: in two
// pieces, that spares a disk some forty requests. A floppy is not much larger than both, and is slow.
func readEnds(fd int, size int64) {
	const end = 512 << 10
	if size >= 8*end {
		_ = unix.Fadvise(fd, 0, end, unix.FADV_WILLNEED)
		_ = unix.Fadvise(fd, size-end, end, unix.FADV_WILLNEED)
	}
}

// setBlkid sets the property that udev makes of one of libblkid's values. Some make none.
func setBlkid(call *Call, key, value string) {
	switch key {
	case "TYPE", "USAGE", "VERSION":
		call.Set("ID_FS_"+key, value)
	case "UUID", "UUID_SUB", "LABEL":
		call.Set("ID_FS_"+key, blkid.Safe(value))
		call.Set("ID_FS_"+key+"_ENC", blkid.Encode(value))
	case "FSSIZE", "FSLASTBLOCK", "FSBLOCKSIZE":
		call.Set("ID_FS_"+key[2:], value)
	case "PTTYPE":
		call.Set("ID_PART_TABLE_TYPE", value)
	case "PTUUID":
		call.Set("ID_PART_TABLE_UUID", value)
	case "PART_ENTRY_NAME", "PART_ENTRY_TYPE":
		call.Set("ID_"+key, blkid.Encode(value))
	case "SYSTEM_ID", "PUBLISHER_ID", "APPLICATION_ID", "BOOT_SYSTEM_ID", "VOLUME_ID", "LOGICAL_VOLUME_ID", "VOLUME_SET_ID", "DATA_PREPARER_ID":
		call.Set("ID_FS_"+key, blkid.Encode(value))
	default:
		if strings.HasPrefix(key, "PART_ENTRY_") {
			call.Set("ID_"+key, value)
		}
	}
}

// private says whether a device mapper's device is a part of another and nobody's business.
func private(uuid string) bool {
	if rest, ok := strings.CutPrefix(uuid, "LVM-"); ok {
		i := strings.LastIndexByte(rest, '-')
		return i >= 0 && i+1 < len(rest)
	}
	return strings.HasPrefix(uuid, "stratis-1-private")
}

// isPart says whether a device mapper's device stands for a partition (kpartx makes such).
func isPart(uuid string) bool { return len(uuid) > 4 && strings.EqualFold(uuid[:4], "part") }

func sectorSize(dev *hotplug.Device) int {
	for d := dev; d != nil && d.Subsystem() == "block"; d = d.Parent() {
		if n, err := strconv.Atoi(attr(d, "queue/logical_block_size")); err == nil {
			return n
		}
	}
	return 512
}

// partEntry opens the disk that the partition is on.
func (t *Table) partEntry(dev *hotplug.Device) (*blkid.Entry, func()) {
	none := func() {}
	disk := dev.Parent()
	number := 0
	if uuid := attr(dev, "dm/uuid"); isPart(uuid) {
		var n uint64
		if s := scan(uuid[4:]); !s.num(10, 6, &n).ok {
			return nil, none
		}
		number = int(n)
		slaves, err := dev.ReadDir("slaves")
		if err != nil || len(slaves) == 0 {
			return nil, none
		}
		if disk, err = dev.Roots().DeviceByName("block", slaves[0]); err != nil {
			return nil, none
		}
	}
	if disk == nil || disk.Subsystem() != "block" {
		return nil, none
	}
	num, _ := disk.Devnum()
	length, err1 := strconv.ParseUint(attr(dev, "size"), 10, 64)
	start, err2 := strconv.ParseUint(attr(dev, "start"), 10, 64)
	if err1 != nil || err2 != nil && number == 0 {
		return nil, none
	}
	node, err := t.opts.Open(disk, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, none
	}
	size, err := node.Size()
	if err != nil {
		node.Close()
		return nil, none
	}
	return &blkid.Entry{Disk: node, DiskSize: size, SectorSize: sectorSize(disk), Major: num.Major, Minor: num.Minor,
		Start: start, Size: length, Number: number}, func() { node.Close() }
}

// Kernel: include/uapi/linux/cdrom.h.
const (
	cdromMultisession  = 0x5310
	cdromDriveStatus   = 0x5326
	cdromGetCapability = 0x5331
	cdromLastWritten   = 0x5395
)

// opticalDisc asks an optical drive whether there is a disc, how much of it is written, and where its last session is.
// Another device answers to none of this.
func opticalDisc(n Node, size int64, opts *blkid.Options, haveSession bool) (int64, error) {
	if _, err := n.IoctlInt(cdromGetCapability, 0); err == nil {
		status, err := n.IoctlInt(cdromDriveStatus, math.MaxInt32)
		if err == nil && (status == 1 || status == 2) {
			return 0, unix.ENOMEDIUM
		}
		opts.CDROM = true
	}
	var word [8]byte
	written := uint64(0)
	if _, err := n.Ioctl(cdromLastWritten, word[:]); err == nil {
		opts.CDROM = true
		written = binary.NativeEndian.Uint64(word[:])
	} else if errors.Is(err, unix.ENOMEDIUM) {
		return 0, err
	}
	if !opts.CDROM {
		return size, nil
	}
	sectors := size >> 9
	if limit := int64(written+1) << 2; written != 0 && written < 1<<40 && sectors > limit {
		sectors = limit
	}
	var b [512]byte
	for s := max(sectors-12, 0); s < sectors; s++ {
		if _, err := n.ReadAt(b[:], s<<9); err != nil {
			size = s << 9
			break
		}
	}
	if !haveSession {
		word = [8]byte{5: 1} // addresses as block numbers
		if _, err := n.Ioctl(cdromMultisession, word[:]); err == nil && word[4] != 0 {
			opts.Session = int64(int32(binary.NativeEndian.Uint32(word[:]))) << 11
		}
	}
	return size, nil
}

// gptRoot sets ID_PART_GPT_AUTO_ROOT_UUID on the disk that the firmware booted from: its newest root partition. See the
// Discoverable Partitions Specification.
func (t *Table) gptRoot(call *Call, r io.ReaderAt, size int64, sector int) {
	native := map[string]string{
		"amd64": "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "arm64": "b921b045-1df0-41c3-af44-4c6f280d3fae",
		"386": "44479540-f297-41b2-9af7-d131d5f0458a", "arm": "69dad710-2ce4-4e3c-b16c-21a1d49abed3",
		"riscv64": "72ec70a6-cf74-40e6-bd49-4bda08e8f224",
	}[runtime.GOARCH]
	raw, err := call.Device.Roots().ReadFile("/sys/firmware/efi/efivars/LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f")
	if err != nil || len(raw) < 4 || native == "" {
		return
	}
	var id []byte
	for i := 4; i+1 < len(raw) && raw[i] != 0; i += 2 {
		id = append(id, raw[i])
	}
	booted := strings.ToLower(string(id))
	table, err := blkid.ReadTable(r, size, sector)
	if err != nil || table == nil {
		return
	}
	const noAuto = 1 << 63
	found, root, label := false, "", ""
	for _, p := range table.Partitions {
		switch p.Type {
		case "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "bc13c2ff-59e6-4262-a352-b275fd6f7172": // ESP, extended boot loader
			found = found || p.UUID == booted
		case native:
			if p.Flags&noAuto == 0 && (root == "" || p.Name > label) {
				root, label = p.UUID, p.Name
			}
		}
	}
	if found && root != "" {
		call.Set("ID_PART_GPT_AUTO_ROOT_UUID", root)
	}
}
