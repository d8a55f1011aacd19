package builtin

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/hotplug"
)

// Node is an open device node: the seam between builtins and a driver. It belongs to one goroutine.
type Node interface {
	io.ReaderAt
	io.Closer
	// Size returns the length of a block device or file in bytes.
	Size() (int64, error)
	// Ioctl makes a request whose argument is a structure: argument is its bytes, read and written by the kernel.
	// What the call returns comes back too: a few requests answer with it.
	Ioctl(request uint, argument []byte) (int, error)
	// IoctlInt makes a request whose argument is a number.
	IoctlInt(request uint, argument uintptr) (int, error)
	// SCSI sends a command through SG_IO.
	SCSI(c *SCSICommand) error
}

// SCSICommand is one command to a SCSI or ATAPI device that reads data, or moves none.
type SCSICommand struct {
	CDB     []byte
	Data    []byte // filled from the device
	Timeout uint32 // milliseconds
	V4      bool   // the bsg interface instead of sg's

	// The outcome.
	Sense        []byte // as far as the device wrote it
	Status       uint8
	HostStatus   uint16
	DriverStatus uint16
	Residual     int
}

// OpenFunc opens a device's node with flags of open(2).
type OpenFunc func(dev *hotplug.Device, flags int) (Node, error)

// OpenNode opens the node itself below Roots.Dev, and refuses another device that has its name by now.
func OpenNode(dev *hotplug.Device, flags int) (Node, error) {
	name := dev.Devname()
	if name == "" {
		return nil, fmt.Errorf("%s has no node: %w", dev.Sysname(), os.ErrNotExist)
	}
	return openFile(filepath.Join(dev.Roots().DevDir(), name), flags, dev)
}

func openFile(path string, flags int, dev *hotplug.Device) (Node, error) {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	kind := st.Mode & unix.S_IFMT
	if dev != nil && (kind == unix.S_IFBLK || kind == unix.S_IFCHR) {
		num, ok := dev.Devnum()
		if ok && (unix.Major(st.Rdev) != num.Major || unix.Minor(st.Rdev) != num.Minor || (kind == unix.S_IFBLK) != dev.IsBlock()) {
			unix.Close(fd)
			return nil, &os.PathError{Op: "open", Path: path, Err: unix.ENXIO}
		}
	}
	return &fileNode{fd: fd, path: path, block: kind == unix.S_IFBLK}, nil
}

type fileNode struct {
	fd    int
	path  string
	block bool
}

func (n *fileNode) Close() error { return unix.Close(n.fd) }

func (n *fileNode) ReadAt(p []byte, off int64) (int, error) {
	have := 0
	for have < len(p) {
		m, err := unix.Pread(n.fd, p[have:], off+int64(have))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return have, &os.PathError{Op: "read", Path: n.path, Err: err}
		}
		if m == 0 {
			return have, io.EOF
		}
		have += m
	}
	return have, nil
}

func (n *fileNode) Size() (int64, error) {
	if n.block {
		var size uint64
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(n.fd), unix.BLKGETSIZE64, uintptr(unsafe.Pointer(&size))); errno != 0 {
			return 0, &os.PathError{Op: "size of", Path: n.path, Err: errno}
		}
		return int64(size), nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(n.fd, &st); err != nil {
		return 0, err
	}
	return st.Size, nil
}

func (n *fileNode) Ioctl(request uint, argument []byte) (int, error) {
	if len(argument) == 0 {
		return n.IoctlInt(request, 0)
	}
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(n.fd), uintptr(request), uintptr(unsafe.Pointer(&argument[0])))
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

func (n *fileNode) IoctlInt(request uint, argument uintptr) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(n.fd), uintptr(request), argument)
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

// sgHeader is struct sg_io_hdr. Kernel: include/scsi/sg.h.
type sgHeader struct {
	interfaceID    int32
	dxferDirection int32
	cmdLen         uint8
	mxSbLen        uint8
	iovecCount     uint16
	dxferLen       uint32
	dxferp         unsafe.Pointer
	cmdp           unsafe.Pointer
	sbp            unsafe.Pointer
	timeout        uint32
	flags          uint32
	packID         int32
	usrPtr         unsafe.Pointer
	status         uint8
	maskedStatus   uint8
	msgStatus      uint8
	sbLenWr        uint8
	hostStatus     uint16
	driverStatus   uint16
	resid          int32
	duration       uint32
	info           uint32
}

// sgHeader4 is struct sg_io_v4. Kernel: include/uapi/linux/bsg.h.
type sgHeader4 struct {
	guard, protocol, subprotocol                int32
	requestLen                                  uint32
	request, requestTag                         uint64
	requestAttr, requestPriority, requestExtra  uint32
	maxResponseLen                              uint32
	response                                    uint64
	doutIovecCount, doutXferLen                 uint32
	dinIovecCount, dinXferLen                   uint32
	doutXferp, dinXferp                         uint64
	timeout, flags                              uint32
	usrPtr                                      uint64
	spareIn                                     uint32
	driverStatus, transportStatus, deviceStatus uint32
	retryDelay, info, duration, responseLen     uint32
	dinResid, doutResid                         int32
	generatedTag                                uint64
	spareOut, padding                           uint32
}

const (
	sgIO          = 0x2285
	sgFromDevice  = -3
	sgNoTransfer  = -1
	senseCapacity = 64
)

func (n *fileNode) SCSI(c *SCSICommand) error {
	sense := make([]byte, senseCapacity)
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&sense[0])
	pin.Pin(&c.CDB[0])
	if len(c.Data) > 0 {
		pin.Pin(&c.Data[0])
	}
	if c.V4 {
		h := sgHeader4{guard: 'Q', requestLen: uint32(len(c.CDB)), request: uint64(uintptr(unsafe.Pointer(&c.CDB[0]))),
			maxResponseLen: uint32(len(sense)), response: uint64(uintptr(unsafe.Pointer(&sense[0]))), timeout: c.Timeout}
		if len(c.Data) > 0 {
			h.dinXferLen, h.dinXferp = uint32(len(c.Data)), uint64(uintptr(unsafe.Pointer(&c.Data[0])))
		}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(n.fd), sgIO, uintptr(unsafe.Pointer(&h))); errno != 0 {
			return errno
		}
		c.Status, c.HostStatus, c.DriverStatus = uint8(h.deviceStatus), uint16(h.transportStatus), uint16(h.driverStatus)
		c.Sense, c.Residual = sense[:min(int(h.responseLen), len(sense))], int(h.dinResid)
		return nil
	}
	h := sgHeader{interfaceID: 'S', dxferDirection: sgNoTransfer, cmdLen: uint8(len(c.CDB)), mxSbLen: uint8(len(sense)),
		cmdp: unsafe.Pointer(&c.CDB[0]), sbp: unsafe.Pointer(&sense[0]), timeout: c.Timeout}
	if len(c.Data) > 0 {
		h.dxferDirection, h.dxferLen, h.dxferp = sgFromDevice, uint32(len(c.Data)), unsafe.Pointer(&c.Data[0])
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(n.fd), sgIO, uintptr(unsafe.Pointer(&h))); errno != 0 {
		return errno
	}
	c.Status, c.HostStatus, c.DriverStatus = h.status, h.hostStatus, h.driverStatus
	c.Sense, c.Residual = sense[:min(int(h.sbLenWr), len(sense))], int(h.resid)
	return nil
}
