package builtin

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"

	"golang.org/x/sys/unix"
)

// Features of optical drives and media, as MMC calls them: its profiles, and two of the kernel's own.
const (
	featureCD       = 0x08
	featureCDR      = 0x09
	featureCDRW     = 0x0a
	featureDVD      = 0x10
	featureDVDR     = 0x11
	featureDVDRAM   = 0x12
	featureDVDRWRO  = 0x13
	featureDVDRWSeq = 0x14
	featureMRW      = 0x5b
	featureMRWW     = 0x5c
)

func featureNames() map[int]string {
	return map[int]string{
		0x01: "RW_NONREMOVABLE", 0x02: "RW_REMOVABLE", 0x03: "MO_SE", 0x04: "MO_WO", 0x05: "MO_AS", featureCD: "CD", featureCDR: "CD_R",
		featureCDRW: "CD_RW", featureDVD: "DVD", featureDVDR: "DVD_R", featureDVDRAM: "DVD_RAM", featureDVDRWRO: "DVD_RW_RO",
		featureDVDRWSeq: "DVD_RW_SEQ", 0x15: "DVD_R_DL_SEQ", 0x16: "DVD_R_DL_JR", 0x17: "DVD_RW_DL", 0x18: "DVD_R_DDR", 0x1a: "DVD_PLUS_RW",
		0x1b: "DVD_PLUS_R", 0x20: "DDCD", 0x21: "DDCD_R", 0x22: "DDCD_RW", 0x2a: "DVD_PLUS_RW_DL", 0x2b: "DVD_PLUS_R_DL", 0x40: "BD",
		0x41: "BD_R_SRM", 0x42: "BD_R_RRM", 0x43: "BD_RE", 0x50: "HDDVD", 0x51: "HDDVD_R", 0x52: "HDDVD_RAM", 0x53: "HDDVD_RW",
		0x58: "HDDVD_R_DL", 0x5a: "HDDVD_RW_DL", featureMRW: "MRW", featureMRWW: "MRW_W",
	}
}

// featureGroups are the names that several features share.
var featureGroups = []struct {
	name     string
	features []int
}{
	{"MO", []int{0x03, 0x04, 0x05}}, {"DVD_RW", []int{featureDVDRWRO, featureDVDRWSeq}}, {"DVD_R_DL", []int{0x15, 0x16}},
	{"DVD_R", []int{0x18}}, {"BD_R", []int{0x41, 0x42}},
}

const (
	discBlank = iota
	discAppendable
	discComplete
	discOther
)

type cdrom struct {
	n        Node
	features []int
	media    int // its profile, -1 unknown
	present  bool
	state    int // -1 unknown

	sessionNext, sessions, tracks, data, audio int
	lastSession                                uint64 // bytes
}

// cdromID prints what an optical drive can do and what disc is in it, and locks, unlocks or ejects it on request.
// Format: MMC-6.
func (t *Table) cdromID(ctx context.Context, call *Call, args []string, out io.Writer) error {
	var name string
	var lock, unlock, eject, debug bool
	if err := options(args, nil, map[string]*bool{"l": &lock, "lock-media": &lock, "u": &unlock, "unlock-media": &unlock,
		"e": &eject, "eject-media": &eject, "d": &debug, "debug": &debug}, &name); err != nil {
		return err
	}
	n, err := t.openWaiting(ctx, call, name)
	if err != nil {
		return err
	}
	defer n.Close()
	c := &cdrom{n: n, media: -1, state: -1}
	caps, err := n.IoctlInt(cdromGetCapability, 0)
	if err != nil {
		return err
	}
	for _, f := range []struct{ bit, feature int }{{0x2000, featureCDR}, {0x4000, featureCDRW}, {0x8000, featureDVD}, {0x10000, featureDVDR},
		{0x20000, featureDVDRAM}, {0x80000, featureMRW}, {0x100000, featureMRWW}} {
		if caps&f.bit != 0 {
			c.add(f.feature)
		}
	}
	const discOK = 4
	if status, err := n.IoctlInt(cdromDriveStatus, math.MaxInt32); err == nil && status == discOK {
		c.present = true
	}
	if c.isMMC() && c.profiles() {
		c.contents()
		c.info()
	}
	if !t.opts.DryRun {
		if lock && c.present {
			c.lock(1)
		}
		if unlock && c.present {
			c.lock(0)
		}
		if eject {
			c.lock(0)
			_ = c.do([]byte{0x1b, 0, 0, 0, 0x02, 0}, nil)
		}
	}
	var p printer
	c.print(&p)
	_, err = out.Write(p.Bytes())
	return err
}

func (c *cdrom) add(feature int) {
	if !slices.Contains(c.features, feature) {
		c.features = append(c.features, feature)
	}
}

// lock locks or unlocks the door, without the kernel's own idea of when.
func (c *cdrom) lock(on uintptr) {
	const clearOptions, lockDoor, optionLock = 0x5321, 0x5329, 0x4
	_, _ = c.n.IoctlInt(clearOptions, optionLock)
	_, _ = c.n.IoctlInt(lockDoor, on)
}

// senseError is what a drive answers to a command that it does not carry out: sense key and additional code.
type senseError struct{ key, code byte }

func (e senseError) Error() string { return "the drive refuses the command" }

func (c *cdrom) do(cdb, data []byte) error {
	s := &SCSICommand{CDB: cdb, Data: data}
	if err := c.n.SCSI(s); err != nil {
		return err
	}
	if s.Status == 0 && s.HostStatus == 0 && s.DriverStatus == 0 {
		return nil
	}
	if s.Status&0x02 != 0 && len(s.Sense) > 13 {
		return senseError{s.Sense[2] & 0xf, s.Sense[12]}
	}
	return unix.EIO
}

func (c *cdrom) isMMC() bool {
	var b [36]byte
	return c.do([]byte{0x12, 0, 0, 0, 36, 0}, b[:]) == nil && b[0]&0x1f == 5
}

// profiles reads what the drive can do and what its disc is, and says whether there is one.
func (c *cdrom) profiles() bool {
	var head [8]byte
	err := c.do([]byte{0x46, 0, 0, 0, 0, 0, 0, 0, 8, 0}, head[:])
	var refused senseError
	if errors.As(err, &refused) && refused.key == 5 && (refused.code == 0x20 || refused.code == 0x24) {
		return c.oldDrive()
	}
	if err != nil {
		return false
	}
	current := int(binary.BigEndian.Uint16(head[6:]))
	c.present = current > 0
	if c.present {
		c.media = current
	}
	length := int(binary.BigEndian.Uint32(head[:]))
	if length > 65530 || length <= 8 {
		length = 65530
	}
	b := make([]byte, length)
	if c.do([]byte{0x46, 0, 0, 0, 0, 0, 0, byte(length >> 8), byte(length), 0}, b) != nil {
		return false
	}
	b = b[:min(uint64(binary.BigEndian.Uint32(b)), uint64(len(b)))]
	for i := 8; i+4 < len(b); i += 4 + int(b[i+3]) {
		if binary.BigEndian.Uint16(b[i:]) != 0 { // the list of profiles
			continue
		}
		list := b[i+4 : min(i+4+int(b[i+3]), len(b))]
		for ; len(list) >= 4; list = list[4:] {
			c.add(int(binary.BigEndian.Uint16(list)))
		}
	}
	return c.present
}

// oldDrive asks one that does not know of profiles.
func (c *cdrom) oldDrive() bool {
	var b [34]byte
	err := c.do([]byte{0x51, 0, 0, 0, 0, 0, 0, 0, 2, 0}, b[:2])
	if err == nil {
		n := min(int(binary.BigEndian.Uint16(b[:]))+2, len(b))
		err = c.do([]byte{0x51, 0, 0, 0, 0, 0, 0, 0, byte(n), 0}, b[:n])
	}
	if err != nil {
		if c.present {
			c.media, c.tracks, c.data = featureCD, 1, 1
		}
		return c.present
	}
	c.present = true
	switch {
	case b[2]&0x10 != 0:
		c.media = featureCDRW
	case b[2]&3 < 2 && slices.Contains(c.features, featureCDR):
		c.media = featureCDR
	default:
		c.media = featureCD
	}
	return false
}

// contents reads the table of contents.
func (c *cdrom) contents() {
	var head [12]byte
	if c.do([]byte{0x43, 0, 0, 0, 0, 0, 1, 0, 12, 0}, head[:]) != nil {
		return
	}
	length := int(binary.BigEndian.Uint16(head[:])) + 2
	if length > 65536 || length < 8 {
		return
	}
	b := make([]byte, length)
	if c.do([]byte{0x43, 0, 0, 0, 0, 0, head[2], byte(length >> 8), byte(length), 0}, b) != nil {
		return
	}
	tracks := int(head[3]) - int(head[2]) + 1
	for i := 4; i+8 <= length && tracks > 0; i, tracks = i+8, tracks-1 {
		if b[i+1]&0x04 != 0 {
			c.data++
		} else {
			c.audio++
		}
	}
	if c.do([]byte{0x43, 0, 1, 0, 0, 0, 0, 0, 12, 0}, head[:]) == nil {
		c.lastSession = uint64(binary.BigEndian.Uint32(head[8:])) * 2048
	}
}

// info reads the disc's state.
func (c *cdrom) info() {
	var b [32]byte
	if c.do([]byte{0x51, 0, 0, 0, 0, 0, 0, 0, 32, 0}, b[:]) != nil {
		return
	}
	c.present = true
	state := int(b[2] & 3)
	if c.media != featureCD { // some plain ones claim to be blank
		c.state = state
	}
	if c.media == featureDVDRWRO && state == discAppendable {
		c.state = discBlank // fresh, and in restricted mode
	}
	if slices.Contains([]int{featureDVDRWRO, 0x1a, 0x2a, featureDVDRAM}, c.media) && state >= discComplete {
		if !c.looksWritten() {
			return
		}
	}
	if c.media != featureDVDRWRO && state <= discAppendable {
		c.sessionNext = int(b[10])<<8 | int(b[5])
	}
	c.sessions, c.tracks = int(b[9])<<8|int(b[4]), int(b[11])<<8|int(b[6])
}

// looksWritten looks at formatted media, which always claim to be complete, for anything in the sectors 0 and 16. It
// says false when nothing more can be said of the disc.
func (c *cdrom) looksWritten() bool {
	if c.media == featureDVDRAM {
		var structure [8]byte
		if c.do([]byte{0xad, 0, 0, 0, 0, 0, 0, 0xc0, 0, 8, 0, 0}, structure[:]) != nil {
			return false
		}
		if structure[4]&2 != 0 { // protected
			c.state = discComplete
			return true
		}
		var format [12]byte
		if c.do([]byte{0x23, 0, 0, 0, 0, 0, 0, 0, 12, 0}, format[:]) != nil {
			return false
		}
		if format[3]&7 != 0 || format[3] < 16 {
			return false
		}
		switch format[8] & 3 {
		case 1:
			return true
		case 3:
			c.present = false
			return false
		}
	}
	b := make([]byte, 32*2048)
	if c.do([]byte{0x28, 0, 0, 0, 0, 0, 0, 0, 32, 0}, b) != nil {
		c.present = false
		return false
	}
	used := func(c byte) bool { return c != 0 }
	if !slices.ContainsFunc(b[32768:32768+2048], used) && !slices.ContainsFunc(b[:2048], used) {
		c.state = discBlank
	}
	return true
}

func (c *cdrom) print(p *printer) {
	p.line("ID_CDROM=1")
	printFeatures(p, "ID_CDROM_", c.features)
	if c.present {
		p.line("ID_CDROM_MEDIA=1")
		printFeatures(p, "ID_CDROM_MEDIA_", []int{c.media})
	}
	if c.state >= 0 {
		p.line("ID_CDROM_MEDIA_STATE=%s", [...]string{"blank", "appendable", "complete", "other"}[c.state])
	}
	number := func(name string, n int) {
		if n > 0 {
			p.line("ID_CDROM_MEDIA_%s=%d", name, n)
		}
	}
	number("SESSION_NEXT", c.sessionNext)
	number("SESSION_COUNT", c.sessions)
	if c.sessions > 1 && c.lastSession > 0 {
		p.line("ID_CDROM_MEDIA_SESSION_LAST_OFFSET=%d", c.lastSession)
	}
	number("TRACK_COUNT", c.tracks)
	number("TRACK_COUNT_AUDIO", c.audio)
	number("TRACK_COUNT_DATA", c.data)
}

func printFeatures(p *printer, prefix string, features []int) {
	names := featureNames()
	for _, f := range features {
		if name := names[f]; name != "" {
			p.line("%s%s=1", prefix, name)
		}
	}
	for _, g := range featureGroups {
		if slices.ContainsFunc(g.features, func(f int) bool { return slices.Contains(features, f) }) {
			p.line("%s%s=1", prefix, g.name)
		}
	}
}
