package rules

import "strings"

// kind is what a token does. The kinds stand in the order in which udev runs the keys of one line, whatever their
// order in the text is: matches of the device, matches of one parent, what is run to decide, and then what is set.
type kind uint8

const (
	matchAction kind = iota
	matchDevpath
	matchKernel
	matchLink
	matchName
	matchEnv
	matchConst
	matchTag
	matchSubsystem
	matchDriver
	matchAttr
	matchSysctl

	// These must all hold on one device: the event's own or one above it.
	matchParentKernel
	matchParentSubsystem
	matchParentDriver
	matchParentAttr
	matchParentTag

	matchTest
	matchProgram
	importFile
	importProgram
	importBuiltin
	importDB
	importCmdline
	importParent
	matchResult

	setEscapeNone
	setEscapeReplace
	setPersist
	setWatch
	setPriority
	setLogLevel
	setOwner   // a name or a template, looked up when the rule runs
	setGroup   //
	setMode    //
	setOwnerID // a number, known when the rules are compiled
	setGroupID //
	setModeID  //
	setTag
	setStaticNode
	setSecLabel
	setEnv
	setName
	setLink
	setAttr
	setSysctl
	runBuiltin
	runProgram

	// These are no tokens: they belong to the line as a whole.
	keyGoto
	keyLabel

	noKind kind = 255
)

func (k kind) isMatch() bool  { return k <= matchResult }
func (k kind) isParent() bool { return k >= matchParentKernel && k <= matchParentTag }

// splits says whether the value of a match of this kind is a list of alternatives separated by '|'.
func (k kind) splits() bool { return k < matchTest || k == matchResult }

// op is an operator.
type op uint8

const (
	opMatch   op = iota // ==
	opNoMatch           // !=
	opAdd               // +=
	opRemove            // -=
	opAssign            // =
	opFinal             // :=
)

var opText = [...]string{"==", "!=", "+=", "-=", "=", ":="}

func (o op) String() string { return opText[o] }

// isMatch says whether the operator compares.
func (o op) isMatch() bool { return o == opMatch || o == opNoMatch }

// attrUse says what a key does with the {attribute} behind it.
type attrUse uint8

const (
	attrNone   attrUse = iota // none may stand there
	attrNeeded                // one must
	attrFormat                // one must, and substitutions in it count
	attrFree                  // the key looks at it itself
)

// keyRule says how a key may be used. The zero kind stands for ACTION, so the absence of one is noKind.
type keyRule struct {
	match  kind // what it is with == and !=
	assign kind // what it is with the other operators
	attr   attrUse
	add    bool // += means more than =
	remove bool // -= is allowed
	final  bool // := means more than =
}

// takes is what udevadm verify says of an operator that is taken as =.
func (k keyRule) takes(name string) string {
	var list []string
	if k.match != noKind {
		list = append(list, "'=='", "'!='")
	}
	list = append(list, "'='")
	if k.add {
		list = append(list, "'+='")
	}
	if k.final {
		list = append(list, "':='")
	}
	last := len(list) - 1
	or := " or "
	if last > 1 {
		or = ", or "
	}
	return name + " key takes " + strings.Join(list[:last], ", ") + or + list[last] + " operator, assuming '='."
}

// keys is udev's vocabulary. IMPORT, PROGRAM, OPTIONS, TEST and RUN have more to say: see parser.token.
var keys = map[string]keyRule{
	"ACTION":     {match: matchAction, assign: noKind},
	"DEVPATH":    {match: matchDevpath, assign: noKind},
	"KERNEL":     {match: matchKernel, assign: noKind},
	"SUBSYSTEM":  {match: matchSubsystem, assign: noKind},
	"DRIVER":     {match: matchDriver, assign: noKind},
	"CONST":      {match: matchConst, assign: noKind, attr: attrNeeded},
	"RESULT":     {match: matchResult, assign: noKind},
	"TEST":       {match: matchTest, assign: noKind, attr: attrFree},
	"KERNELS":    {match: matchParentKernel, assign: noKind},
	"SUBSYSTEMS": {match: matchParentSubsystem, assign: noKind},
	"DRIVERS":    {match: matchParentDriver, assign: noKind},
	"ATTRS":      {match: matchParentAttr, assign: noKind, attr: attrFormat},
	"TAGS":       {match: matchParentTag, assign: noKind},

	"SYMLINK": {match: matchLink, assign: setLink, add: true, remove: true, final: true},
	"NAME":    {match: matchName, assign: setName, final: true},
	"ENV":     {match: matchEnv, assign: setEnv, attr: attrNeeded, add: true},
	"TAG":     {match: matchTag, assign: setTag, add: true, remove: true},
	"ATTR":    {match: matchAttr, assign: setAttr, attr: attrFormat},
	"SYSCTL":  {match: matchSysctl, assign: setSysctl, attr: attrFormat},

	// An assignment to these is a match: udev has always read IMPORT{…}="…" so.
	"PROGRAM": {match: matchProgram, assign: matchProgram, add: true, final: true},
	"IMPORT":  {match: importFile, assign: importFile, attr: attrNeeded, add: true, final: true},

	"OPTIONS":  {match: noKind, assign: setEscapeNone, add: true, final: true},
	"OWNER":    {match: noKind, assign: setOwner, final: true},
	"GROUP":    {match: noKind, assign: setGroup, final: true},
	"MODE":     {match: noKind, assign: setMode, final: true},
	"SECLABEL": {match: noKind, assign: setSecLabel, attr: attrNeeded, add: true},
	"RUN":      {match: noKind, assign: runProgram, attr: attrFree, add: true, final: true},
	"GOTO":     {match: noKind, assign: keyGoto},
	"LABEL":    {match: noKind, assign: keyLabel},
}

// imports are the kinds of IMPORT by their attribute.
var imports = map[string]kind{
	"file":    importFile,
	"program": importProgram,
	"builtin": importBuiltin,
	"db":      importDB,
	"cmdline": importCmdline,
	"parent":  importParent,
}

// builtins are the names that RUN{builtin} and IMPORT{builtin} may say, in udev's order; once marks those that run once an
// event, whose repeated use gives the first one's outcome.
var builtins = [...]struct {
	name string
	once bool
}{
	{name: "blkid", once: true},
	{name: "btrfs"},
	{name: "hwdb"},
	{name: "input_id"},
	{name: "keyboard"},
	{name: "kmod"},
	{name: "net_driver", once: true},
	{name: "net_id"},
	{name: "net_setup_link"},
	{name: "path_id", once: true},
	{name: "usb_id", once: true},
	{name: "uaccess"},
	{name: "dissect_image"},
	{name: "factory_reset"},
	{name: "tpm2_id"},
}

// findBuiltin returns the place in builtins of the one that word names, -1 for none. As for udev, the beginning of a name
// is enough.
func findBuiltin(word string) int {
	for i := range builtins {
		if word != "" && strings.HasPrefix(builtins[i].name, word) {
			return i
		}
	}
	return -1
}

// ofTheKernel are the properties that a rule may not set: they are the kernel's, or udev's own.
var ofTheKernel = map[string]bool{
	"ACTION": true, "SEQNUM": true, "DEVPATH": true, "SUBSYSTEM": true, "DEVTYPE": true, "DRIVER": true,
	"DEVNAME": true, "MAJOR": true, "MINOR": true, "IFINDEX": true, "DEVLINKS": true, "TAGS": true,
}
