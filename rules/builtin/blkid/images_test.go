package blkid

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"
)

// image is what lies on a device for which no program to make it is at hand: bytes at places, counted from the end when
// negative. want is what is said of it, by libblkid too (TestSameAsLibblkid).
type image struct {
	name string
	size int64
	puts []put
	want string
}

type put struct {
	at   int64
	text string
}

const (
	kb, mb = 1 << 10, 1 << 20
	id     = someUUID
	idText = "01020304-0506-0708-090a-0b0c0d0e0f10"
)

func le16(n uint16) string { return string(le.AppendUint16(nil, n)) }
func le32(n uint32) string { return string(le.AppendUint32(nil, n)) }
func le64(n uint64) string { return string(le.AppendUint64(nil, n)) }
func be32(n uint32) string { return string(be.AppendUint32(nil, n)) }
func be16(n uint16) string { return string(be.AppendUint16(nil, n)) }
func be64(n uint64) string { return string(be.AppendUint64(nil, n)) }

// words are numbers of 32 bits.
func words(order binary.AppendByteOrder, n ...uint32) string {
	var b []byte
	for _, v := range n {
		b = order.AppendUint32(b, v)
	}
	return string(b)
}

func zeros(n int) string { return strings.Repeat("\x00", n) }

// crc32c is text with its CRC-32C in front or, where the format has it there, behind.
func crc32c(text string) string {
	return le32(crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli)))
}

func padded(text string, n int) string { return text + zeros(n-len(text)) }

var md0 = []uint32{mdMagic, 0, 90, 0, 0, 0x01020304, 0, 1, 900, 2, 2, 0, 0, 0x05060708, 0x090a0b0c, 0x0d0e0f10}

func md1(at int64) []put {
	return []put{{at, le32(mdMagic) + le32(1)}, {at + 16, id + "host:array"}, {at + 144, le64(uint64(max(at, 0)) >> 9)}, {at + 168, strings.Repeat("\x22", 16)}}
}

var stratis = padded(stratisMagic+le64(32768)+zeros(4)+"0123456789abcdef0123456789abcdef"+"fedcba9876543210fedcba9876543210"+zeros(24)+le64(1700000000), 508)

// zfsPair is one name and value of a label, in XDR.
func zfsPair(name string, value string) string {
	n := (len(name) + 3) &^ 3
	return be32(uint32(12+n+len(value))) + be32(0) + be32(uint32(len(name))) + padded(name, n) + value
}

func zfsNumber(n uint64) string { return be32(8) + be32(1) + be64(n) }

var zfsLabel = zeros(12) + zfsPair("version", zfsNumber(5000)) + zfsPair("name", be32(9)+be32(1)+be32(4)+"tank") + zfsPair("pool_guid", zfsNumber(1234567890123456789)) +
	zfsPair("guid", zfsNumber(42)) + zfsPair("vdev_tree", be32(19)+be32(1)+zeros(8)) + zfsPair("ashift", zfsNumber(12))

func uberblocks(at int64) (all []put) {
	for i := int64(0); i < 4; i++ {
		all = append(all, put{at + 128*kb + i*kb, le64(0xbab10c) + le64(5000)})
	}
	return all
}

// hfsPlus is a volume header whose catalogue lies at block 8 and holds the volume's name.
func hfsPlus(at, base int64) []put {
	return []put{{at, "H+"}, {at + 40, be32(4096)}, {at + 104, "\x01\x02\x03\x04\x05\x06\x07\x08"}, {at + 0x110 + 16, words(be, 8, 4)},
		{base + 8*4096 + 14, be16(1) + words(be, 1, 1, 1, 1) + be16(4096)},
		{base + 9*4096 + 8, "\xff\x01" + be16(1) + be16(0) + be16(16) + be32(1) + be16(5) + "\x00M\x00\xe4\x00c\x00 \x002"}}
}

var ufs = []put{{8*kb + 52, le32(1024)}, {8*kb + 144, words(le, 0x01020304, 0x05060708)}, {8*kb + 1372, le32(0x11954)}}

func via(b string) string {
	b = padded(b, 50)
	sum := byte(0)
	for i := range len(b) {
		sum += b[i]
	}
	return b + string([]byte{sum})
}

func silicon() string {
	b := make([]byte, 512)
	copy(b[0x60:], "\x00\x00\x00\x2f")
	copy(b[0x108:], le16(1)+le16(2))
	sum := uint16(0)
	for i := 0; i < 0x13e; i += 2 {
		sum -= le.Uint16(b[i:])
	}
	copy(b[0x13e:], le16(sum))
	return string(b)
}

func dosEntryText(code byte, start, size uint32) string {
	return "\x00\x00\x00\x00" + string([]byte{code}) + zeros(3) + words(le, start, size)
}

// mbr is a DOS table with one partition.
func mbr(code byte, start, size uint32) []put {
	return []put{{440, "\x78\x56\x34\x12"}, {446, dosEntryText(code, start, size)}, {510, "\x55\xaa"}}
}

// bsd is a disk label in the second sector after base, with a whole and two slices; first is where they say it begins.
func bsd(base int64, first, size uint32) []put {
	part := func(size, start uint32, kind byte) string {
		return words(le, size, start, 0) + string([]byte{kind}) + zeros(3)
	}
	return []put{{base<<9 + 512, "\x57\x45\x56\x82"}, {base<<9 + 512 + 138, le16(5) + zeros(8) + part(100, first+16, 7) + part(50, first+200, 1) + part(size, first, 0) +
		part(size, first, 9) + part(100, 1<<30, 7)}}
}

func solaris(sector int64) put {
	slice := func(tag, flag uint16, start, size uint32) string {
		return le16(tag) + le16(flag) + words(le, start, size)
	}
	return put{sector<<9 + 12, "\xee\xde\x0d\x60" + le32(1) + zeros(8) + le16(512) + le16(5) + zeros(40) + slice(2, 0, 10, 100) + slice(5, 1, 0, 4000) + slice(3, 1, 200, 50) +
		slice(4, 0, 5000000, 5) + slice(7, 0, 300, 10)}
}

// atari is a root sector; an entry is its flag and identifier, start and size.
func atari(sector int64, size uint32, entries ...any) put {
	text := be32(size)
	for _, e := range entries {
		switch e := e.(type) {
		case string:
			text += e
		case int:
			text += be32(uint32(e))
		}
	}
	return put{sector<<9 + 0x1c2, text}
}

func befs(order binary.AppendByteOrder, u16 func(uint16) string, u64 func(uint64) string) []put {
	return []put{{512, "Haiku"}, {512 + 32, words(order, 0x42465331, 0x42494745, 2048, 11)}, {512 + 64, words(order, 2048, 0xdd121031, 1, 13, 1)},
		{512 + 112, words(order, 0x15b6830e, 0) + u16(4) + u16(1)},
		{4 * 2048, words(order, 0x3bbe0ad9)}, {4*2048 + 64, words(order, 2048)},
		{4*2048 + 232, words(order, 0x43535452) + u16(4) + u16(5) + "name\x00\x00\x00Haiku\x00" +
			words(order, 0x554c4c47) + u16(12) + u16(8) + "be:volume_id\x00\x00\x00" + u64(0x0102030405060708) + "\x00"}}
}

var handmade = []image{
	{"md 0.90", 2 * mb, []put{{2*mb - 64*kb, words(le, md0...)}}, "VERSION=0.90.0 UUID=01020304-0506-0708-090a-0b0c0d0e0f10 TYPE=linux_raid_member USAGE=raid"},
	{"md 0.90 of a big-endian machine", 2*mb + kb, []put{{2*mb - 64*kb, words(be, md0...)}}, "VERSION=0.90.0 UUID=01020304-0506-0708-090a-0b0c0d0e0f10 TYPE=linux_raid_member USAGE=raid"},
	{"md 1.0", 2 * mb, md1(2*mb - 8*kb), "UUID=01020304-0506-0708-090a-0b0c0d0e0f10 UUID_SUB=22222222-2222-2222-2222-222222222222 LABEL=host:array VERSION=1.0 TYPE=linux_raid_member USAGE=raid"},
	{"md 1.1", 2 * mb, md1(0), "UUID=01020304-0506-0708-090a-0b0c0d0e0f10 UUID_SUB=22222222-2222-2222-2222-222222222222 LABEL=host:array VERSION=1.1 TYPE=linux_raid_member USAGE=raid"},
	{"md 1.2", 2 * mb, md1(4 * kb), "UUID=01020304-0506-0708-090a-0b0c0d0e0f10 UUID_SUB=22222222-2222-2222-2222-222222222222 LABEL=host:array VERSION=1.2 TYPE=linux_raid_member USAGE=raid"},
	{"DDF", 2 * mb, []put{{-512, "\xde\x11\xde\x11" + zeros(4) + padded("Linux-MD GUID", 24) + "01.02.00"}}, "UUID=Linux-MD GUID VERSION=01.02.00 TYPE=ddf_raid_member USAGE=raid"},
	{"DDF, 256 sectors before", 2 * mb, []put{{-257 * 512, "\x11\xde\x11\xde" + zeros(4) + padded("Linux-MD GUID", 24) + "01.02.00"}, {-257*512 + 96, le64(100)}, {100 * 512, "\x11\xde\x11\xde"}}, "UUID=Linux-MD GUID VERSION=01.02.00 TYPE=ddf_raid_member USAGE=raid"},
	{"Intel", 2 * mb, []put{{-1024, "Intel Raid ISM Cfg Sig. 1.3.00"}}, "VERSION=1.3.00 TYPE=isw_raid_member USAGE=raid"},
	{"LSI", 2 * mb, []put{{-512, "$XIDE$"}}, "TYPE=lsi_mega_raid_member USAGE=raid"},
	{"VIA", 2 * mb, []put{{-512, via("\x55\xaa\x02")}}, "VERSION=2 TYPE=via_raid_member USAGE=raid"},
	{"VIA, wrong sum", 2 * mb, []put{{-512, "\x55\xaa\x02\x01"}}, ""},
	{"Silicon Image", 2 * mb, []put{{-512, silicon()}}, "VERSION=2.1 TYPE=silicon_medley_raid_member USAGE=raid"},
	{"Nvidia", 2 * mb, []put{{-1024, "NVIDIA\x00\x00" + zeros(8) + le16(100)}}, "VERSION=100 TYPE=nvidia_raid_member USAGE=raid"},
	{"Promise", 2 * mb, []put{{-399 * 512, "Promise Technology, Inc."}}, "TYPE=promise_fasttrack_raid_member USAGE=raid"},
	{"HighPoint 45x", 2 * mb, []put{{-11 * 512, "\xf3\x16\x78\x5a"}}, "TYPE=hpt45x_raid_member USAGE=raid"},
	{"HighPoint 37x", 2 * mb, []put{{4608 + 32, "\xf0\x16\x78\x5a"}}, "TYPE=hpt37x_raid_member USAGE=raid"},
	{"Adaptec", 2 * mb, []put{{-512, "\x37\xfc\x4d\x1e"}, {-512 + 63, "\x08"}, {-256, "DPTM"}}, "VERSION=8 TYPE=adaptec_raid_member USAGE=raid"},
	{"JMicron", 2 * mb, []put{{-512, "JM\x01\x08"}}, "VERSION=8.1 TYPE=jmicron_raid_member USAGE=raid"},
	{"a RAID on a floppy", mb, []put{{-512, "JM\x01\x08"}}, ""},
	{"bcache", 2 * mb, []put{{4 * kb, zeros(8) + le64(8) + zeros(8) + bcacheMagic + id}}, "UUID=01020304-0506-0708-090a-0b0c0d0e0f10 TYPE=bcache USAGE=other"},
	{"Ceph", 2 * mb, []put{{0, "bluestore block device\n"}}, "TYPE=ceph_bluestore USAGE=other"},
	{"DRBD 8", 2 * mb, []put{{-4096 + 40, be64(0xabcdef)}, {-4096 + 60, be32(0x8374026b)}}, "UUID=abcdef VERSION=v08 TYPE=drbd USAGE=raid"},
	{"DRBD 8.4, unclean", 2*mb + 512, []put{{-4096 + 40, be64(0xabcdef)}, {-4096 + 60, be32(0x8374026c)}}, "UUID=abcdef VERSION=v08 TYPE=drbd USAGE=raid"},
	{"DRBD 9", 2 * mb, []put{{-4096 + 48, be64(0xabcdef)}, {-4096 + 60, be32(0x8374026d)}}, "UUID=abcdef VERSION=v09 TYPE=drbd USAGE=raid"},
	{"DRBD manage", 2 * mb, []put{{0, "$DRBDmgr=q3" + "0123456789abcdef0123456789ABCDEF\n"}, {4 * kb, "\x1a\xdb\x98\xa2" + be32(7)}}, "UUID=0123456789abcdef0123456789ABCDEF VERSION=7 TYPE=drbdmanage_control_volume USAGE=other"},
	{"DRBD proxy", 2 * mb, []put{{0, "DRBDdlh*" + le64(3) + id}}, "UUID=01020304-0506-0708-090a-0b0c0d0e0f10 VERSION=v3 TYPE=drbdproxy_datalog USAGE=filesystem"},
	{"LVM1", 2 * mb, []put{{0, "HM" + le16(1)}, {44, "abcdefGHIJklmnOPQRstuvWXYZ012345"}}, "UUID=abcdef-GHIJ-klmn-OPQR-stuv-WXYZ-012345 TYPE=LVM1_member USAGE=raid"},
	{"VMFS member", 4 * mb, []put{{mb, "\x0d\xd0\x01\xc0" + le32(3)}, {mb + 130, id}, {mb + 512 + 20, "4e1c1234-abcdef01-2345-67890abcdef0"}}, "UUID_SUB=04030201-08070605-0a09-0b0c0d0e0f10 VERSION=3 UUID=4e1c1234-abcdef01-2345-67890abcdef0 TYPE=VMFS_volume_member USAGE=raid"},
	{"UBI", 2 * mb, []put{{0, "UBI#\x01" + zeros(19) + be32(305419896)}}, "VERSION=1 UUID=305419896 TYPE=ubi USAGE=raid"},
	{"VDO", 2 * mb, []put{{0, "dmvdo001" + zeros(32) + id}}, "UUID=01020304-0506-0708-090a-0b0c0d0e0f10 TYPE=vdo USAGE=other"},
	{"Stratis", 2 * mb, []put{{512, crc32c(stratis) + stratis}}, "UUID=fedcba98-7654-3210-fedc-ba9876543210 POOL_UUID=01234567-89ab-cdef-0123-456789abcdef BLOCKDEV_SECTORS=32768 BLOCKDEV_INITTIME=1700000000 TYPE=stratis USAGE=raid"},
	{"Stratis, second copy", 2 * mb, []put{{512, stratis}, {9 * 512, crc32c(stratis) + stratis}}, "UUID=fedcba98-7654-3210-fedc-ba9876543210 POOL_UUID=01234567-89ab-cdef-0123-456789abcdef BLOCKDEV_SECTORS=32768 BLOCKDEV_INITTIME=1700000000 TYPE=stratis USAGE=raid"},
	{"Stratis, wrong sum", 2 * mb, []put{{512, crc32c("") + stratis}}, ""},
	{"BitLocker", 2 * mb, []put{{0, bdeWin7}, {67, "\x12\x34\x56\x00"}, {176, le64(mb)}, {mb, "-FVE-FS-" + le16(0) + le16(2)}}, "UUID=0000000005649426 VERSION=2 TYPE=BitLocker USAGE=crypto"},
	{"suspended", 2 * mb, []put{{4086, "S1SUSPEND"}, {1024 + 12, id + "resume"}}, "LABEL=resume UUID=01020304-0506-0708-090a-0b0c0d0e0f10 VERSION=s1suspend TYPE=swsuspend USAGE=other"},
	{"swap of version 0", 2 * mb, []put{{4086, "SWAP-SPACE"}}, "VERSION=0 TYPE=swap USAGE=other"},
	{"EXFS", 64 * mb, []put{{0, "EXFS" + be32(4096) + be64(8192)}, {32, id}, {80, words(be, 1, 8192, 1)}, {102, be16(512) + be16(256) + be16(16) + "data" + zeros(8) + "\x0c\x09\x08\x04"}}, "LABEL=data UUID=01020304-0506-0708-090a-0b0c0d0e0f10 BLOCK_SIZE=4096 TYPE=exfs USAGE=filesystem"},
	{"XFS log", 16 * mb, []put{{0, words(be, 0xfeedbabe, 1, 2, 512)}, {300, be32(1) + id}}, "LOGUUID=01020304-0506-0708-090a-0b0c0d0e0f10 TYPE=xfs_external_log USAGE=other"},
	{"Reiser 4", 2 * mb, []put{{64 * kb, "ReIsEr4" + zeros(12) + "\x10" + id + "four"}}, "LABEL=four UUID=01020304-0506-0708-090a-0b0c0d0e0f10 VERSION=4 BLOCK_SIZE=4096 TYPE=reiser4 USAGE=filesystem"},
	{"ZFS", 64 * mb, append(uberblocks(0), put{16 * kb, zfsLabel}), "VERSION=5000 LABEL=tank UUID=1234567890123456789 UUID_SUB=42 BLOCK_SIZE=4096 TYPE=zfs_member USAGE=filesystem"},
	{"ZFS, last label", 64*mb + 100*kb, append(uberblocks(64*mb-256*kb), put{64*mb - 240*kb, zfsLabel}), "VERSION=5000 LABEL=tank UUID=1234567890123456789 UUID_SUB=42 BLOCK_SIZE=4096 TYPE=zfs_member USAGE=filesystem"},
	{"HFS", 2 * mb, []put{{kb, "BD"}, {kb + 20, be32(512)}, {kb + 36, "\x04Disk"}, {kb + 116, "\x01\x02\x03\x04\x05\x06\x07\x08"}}, "UUID=6095e009-5132-3fc5-87c2-d5a01745283e LABEL=Disk TYPE=hfs USAGE=filesystem"},
	{"HFS+", 2 * mb, hfsPlus(kb, 0), "UUID=6095e009-5132-3fc5-87c2-d5a01745283e BLOCK_SIZE=4096 LABEL=Mäc 2 TYPE=hfsplus USAGE=filesystem"},
	{"HFS+ in HFS", 2 * mb, append(hfsPlus(kb+64*512+512, 65*512), put{kb, "BD"}, put{kb + 20, be32(512)}, put{kb + 28, be16(64)}, put{kb + 124, "H+" + be16(1)}), "UUID=6095e009-5132-3fc5-87c2-d5a01745283e BLOCK_SIZE=4096 LABEL=Mäc 2 TYPE=hfsplus USAGE=filesystem"},
	{"HFSX without a catalogue", 2 * mb, []put{{kb, "HX"}, {kb + 40, be32(4096)}}, "BLOCK_SIZE=4096 TYPE=hfsplus USAGE=filesystem"},
	{"UFS", 2 * mb, ufs, "VERSION=1 UUID=0102030405060708 BLOCK_SIZE=1024 TYPE=ufs USAGE=filesystem"},
	{"UFS of a big-endian machine", 2 * mb, []put{{52, be32(2048)}, {144, words(be, 1, 2)}, {1372, be32(0x00612195)}}, "VERSION=1 UUID=0000000100000002 BLOCK_SIZE=2048 TYPE=ufs USAGE=filesystem"},
	{"UFS2", 2 * mb, []put{{64*kb + 52, le32(4096)}, {64*kb + 680, "freebsd"}, {64*kb + 1372, le32(0x19540119)}}, "VERSION=2 LABEL=freebsd BLOCK_SIZE=4096 TYPE=ufs USAGE=filesystem"},
	{"HPFS", 2 * mb, []put{{8 * kb, "\x49\xe8\x95\xf9" + zeros(4) + "\x02"}, {8*kb + 512, "\x49\x18\x91\xf9"}, {38, "\x28\x12\x34\x56\x78OS2        HPFS    "}, {510, "\x55\xaa"}}, "LABEL=OS2 UUID=7856-3412 VERSION=2 BLOCK_SIZE=512 TYPE=hpfs USAGE=filesystem PTTYPE=dos"},
	{"System V", 2 * mb, []put{{512 + 440, "sysv"}, {512 + 504, le32(0xfd187e20)}}, "LABEL=sysv TYPE=sysv USAGE=filesystem"},
	{"System V of a floppy, big-endian", 2 * mb, []put{{15*kb + 512 + 440, "sysv"}, {15*kb + 512 + 504, be32(0xfd187e20)}}, "LABEL=sysv TYPE=sysv USAGE=filesystem"},
	{"Xenix", 2 * mb, []put{{kb + 632, "xenix"}, {2 * kb, "\x2b\x55\x44"}}, "LABEL=xenix TYPE=xenix USAGE=filesystem"},
	{"ReFS", 2 * mb, []put{{0, "\x00\x00\x00ReFS\x00"}}, "TYPE=ReFS USAGE=filesystem"},
	{"romfs", 2 * mb, []put{{0, "-rom1fs-" + zeros(8) + "rom"}}, "LABEL=rom BLOCK_SIZE=1024 TYPE=romfs USAGE=filesystem"},
	{"cramfs", 2 * mb, []put{{0, "\x45\x3d\xcd\x28"}, {48, "ram"}}, "LABEL=ram TYPE=cramfs USAGE=filesystem"},
	{"minix 2, big-endian", 2 * mb, []put{{kb, be16(672) + be16(0) + be16(1) + be16(1) + be16(25) + be16(0) + be32(0x7fffffff) + be16(0x2478) + be16(1) + be32(2048)}}, "VERSION=2 BLOCK_SIZE=1024 TYPE=minix USAGE=filesystem"},
	{"minix with too small a map", 2 * mb, []put{{kb, be16(9000) + be16(0) + be16(1) + be16(1) + be16(25) + be16(0) + be32(0x7fffffff) + be16(0x2478) + be16(1) + be32(2048)}}, ""},
	{"GFS", 32 * mb, []put{{64 * kb, "\x01\x16\x19\x70"}, {64*kb + 24, words(be, 1309, 1401)}, {64*kb + 160, "alpha:one"}, {64*kb + 256, id}}, "LABEL=alpha:one UUID=01020304-0506-0708-090a-0b0c0d0e0f10 TYPE=gfs USAGE=filesystem"},
	{"GFS2", 32 * mb, []put{{64 * kb, "\x01\x16\x19\x70"}, {64*kb + 24, words(be, 1801, 1900, 0, 4096)}, {64*kb + 160, "alpha:two"}, {64*kb + 256, id}}, "LABEL=alpha:two UUID=01020304-0506-0708-090a-0b0c0d0e0f10 VERSION=1 BLOCK_SIZE=4096 TYPE=gfs2 USAGE=filesystem"},
	{"OCFS", 14 * mb, []put{{8 * kb, "OracleCFS"}, {8*kb + 136, "/mnt/ocfs"}, {8*kb + 264, le16(9)}, {8*kb + 512 + 48, "oracle"}, {8*kb + 512 + 112, le16(6) + id}}, "SEC_TYPE=ntocfs LABEL=oracle MOUNT=/mnt/ocfs UUID=01020304-0506-0708-090a-0b0c0d0e0f10 VERSION=1178821996.1667330639 TYPE=ocfs USAGE=filesystem"},
	{"OCFS2", 14 * mb, []put{{4 * kb, "OCFSV2"}, {4*kb + 192, le16(0) + le16(90)}, {4*kb + 248, le32(12)}, {4*kb + 272, "cluster"}, {4*kb + 336, id}}, "LABEL=cluster UUID=01020304-0506-0708-090a-0b0c0d0e0f10 VERSION=0.90 BLOCK_SIZE=4096 TYPE=ocfs2 USAGE=filesystem"},
	{"Oracle ASM", 2 * mb, []put{{32, "ORCLDISKVOL1"}}, "LABEL=VOL1 TYPE=oracleasm USAGE=filesystem"},
	{"VxFS", 2 * mb, []put{{kb, le32(0xa501fcf5) + le32(4)}, {kb + 32, le32(1024)}}, "VERSION=4 BLOCK_SIZE=1024 TYPE=vxfs USAGE=filesystem"},
	{"VxFS of HP-UX", 2 * mb, []put{{8 * kb, be32(0xa501fcf5) + be32(5)}, {8*kb + 32, be32(8192)}}, "VERSION=5 BLOCK_SIZE=8192 TYPE=vxfs USAGE=filesystem"},
	{"squashfs 3", 2 * mb, []put{{0, "sqsh"}, {28, "\x00\x03\x00\x01"}}, "VERSION=3.1 BLOCK_SIZE=1024 TYPE=squashfs3 USAGE=filesystem"},
	{"NetWare", 2 * mb, []put{{4 * kb, "SPB5" + zeros(4) + le16(8) + le16(1)}, {4*kb + 348, id}}, "UUID=01020304-0506-0708-090a-0b0c0d0e0f10 VERSION=8.01 TYPE=nss USAGE=filesystem"},
	{"UBIFS", 2 * mb, []put{{0, "\x31\x18\x10\x06"}, {80, le32(4)}, {108, id}, {124, le32(1)}}, "UUID=01020304-0506-0708-090a-0b0c0d0e0f10 VERSION=w4r1 TYPE=ubifs USAGE=filesystem"},
	{"BFS", 2 * mb, []put{{0, "\xce\xfa\xad\x1b"}}, "TYPE=bfs USAGE=filesystem"},
	{"VMFS", 4 * mb, []put{{2 * mb, "\x5e\xf1\xab\x2f" + zeros(4) + "\x05" + id + zeros(4) + "datastore1"}}, "UUID=04030201-08070605-0a09-0b0c0d0e0f10 LABEL=datastore1 VERSION=5 TYPE=VMFS USAGE=filesystem"},
	{"BeFS", 2 * mb, befs(le, le16, le64), "LABEL=Haiku VERSION=little-endian UUID=0102030405060708 BLOCK_SIZE=2048 TYPE=befs USAGE=filesystem"},
	{"BeFS of a PowerPC", 2 * mb, befs(be, be16, be64), "LABEL=Haiku VERSION=big-endian UUID=0102030405060708 BLOCK_SIZE=2048 TYPE=befs USAGE=filesystem"},
	{"mpool", 2 * mb, []put{{0, mpool + crc32c(mpool)}}, "LABEL=pool UUID=01020304-0506-0708-090a-0b0c0d0e0f10 TYPE=mpool USAGE=filesystem"},
	{"APFS", 2 * mb, []put{{24, le16(1)}, {32, "NXSB" + le32(4096)}, {72, id}}, "UUID=01020304-0506-0708-090a-0b0c0d0e0f10 BLOCK_SIZE=4096 TYPE=apfs USAGE=filesystem"},
	{"zonefs", 2 * mb, []put{{0, "SFOZ" + zeros(4) + padded("zones", 32) + id}}, "LABEL=zones UUID=01020304-0506-0708-090a-0b0c0d0e0f10 BLOCK_SIZE=4096 TYPE=zonefs USAGE=filesystem"},
	{"BSD in a DOS table", 8 * mb, append(mbr(0xa5, 2048, 4096), bsd(2048, 2048, 4096)...), "PTUUID=12345678 PTTYPE=dos"},
	{"BSD in a DOS table, relative", 8 * mb, append(mbr(0xa5, 2048, 4096), bsd(2048, 0, 4096)...), "PTUUID=12345678 PTTYPE=dos"},
	{"OpenBSD in a DOS table", 8 * mb, append(mbr(0xa6, 2048, 4096), bsd(2048, 2048, 4096)...), "PTUUID=12345678 PTTYPE=dos"},
	{"BSD without a DOS table", 8 * mb, bsd(0, 0, 16384), ""},
	{"Solaris in a DOS table", 8 * mb, append(mbr(0x82, 2048, 4096), solaris(2049)), "PTUUID=12345678 PTTYPE=dos"},
	{"Solaris without a DOS table", 8 * mb, []put{solaris(1)}, "PTTYPE=solaris"},
	{"Minix in a DOS table", 8 * mb, append(mbr(0x81, 2048, 4096), put{2048*512 + 446, dosEntryText(0x81, 2100, 100) + dosEntryText(0x83, 2200, 100) + dosEntryText(0x81, 2300, 100)}, put{2048*512 + 510, "\x55\xaa"}), "PTUUID=12345678 PTTYPE=dos"},
	{"Ultrix", 8 * mb, []put{{16*kb - 72, words(le, 0x032957, 1, 2048, 0, 0, 0, 4096, 2048)}}, "PTTYPE=ultrix"},
	{"Atari", 8 * mb, []put{atari(0, 16384, "\x01GEM", 2, 1000, "\x01XGM", 2000, 8000, "\x00GEM", 5, 5, "\x01BGM", 12000, 100), atari(2000, 0, "\x01LNX", 1, 500, "\x01XGM", 4000, 100),
		atari(6000, 0, "\x01RAW", 1, 600)}, "PTTYPE=atari"},
	{"Atari with ICD", 8 * mb, []put{atari(0, 16384, "\x01GEM", 2, 1000), {0x156, "\x01GEM" + words(be, 2000, 100) + "\x01XXX" + words(be, 1, 1) + "\x01SWP" + words(be, 3000, 10)}}, "PTTYPE=atari"},
	{"a file system beside a RAID member", 2 * mb, append(md1(4*kb), put{0, "\xce\xfa\xad\x1b"}), "UUID=01020304-0506-0708-090a-0b0c0d0e0f10 UUID_SUB=22222222-2222-2222-2222-222222222222 LABEL=host:array VERSION=1.2 TYPE=linux_raid_member USAGE=raid"},
	{"UBIFS and Oracle ASM", 2 * mb, []put{{0, "\x31\x18\x10\x06"}, {32, "ORCLDISKVOL1"}}, "ambivalent"},
}

var mpool = "mpoolDev" + padded("pool", 32) + id + le16(1) + le32(1)

func (i *image) device() *sparse {
	s := &sparse{size: i.size}
	for _, p := range i.puts {
		if p.at < 0 {
			p.at += i.size
		}
		s.put(p.at, []byte(p.text)...)
	}
	return s
}

func TestHandmadeImages(t *testing.T) {
	for _, image := range handmade {
		got, err := probeStrings(t, image.device(), Options{File: true})
		if errors.Is(err, ErrAmbivalent) {
			got, err = []string{"ambivalent"}, nil
		}
		if got := strings.Join(got, " "); got != image.want || err != nil {
			t.Errorf("%s:\ngot  %s, %v\nwant %s", image.name, got, err, image.want)
		}
	}
}
