// Package modload knows where kernel modules live, which of them an alias asks for, and how they get into the kernel.
//
// A [Config] is resolved once, by [Resolve], and never changes; everything else in the package is handed it, and nothing
// else works out where modules are. Its module_root is a list of directories, of which the first that holds the release
// is taken; each setting knows the source that it comes from. [Config.Check] says what is wrong with the tree, and
// [Config.Claim] is for the one process that is to be the daemon: it writes down what every other process then follows.
//
// [Open] reads one whole generation of a tree's indexes, an [Index]: aliases, dependencies, soft dependencies, built-ins and
// the [Policy] of modprobe.d and kudev.conf. [Index.Match] answers a modalias without allocating. Who lives long takes
// a [Library], which has a new generation with the first look-up after a change.
//
// A [Loader] loads: dependencies first, independent modules side by side, each once however many ask. It reaches the
// kernel through a [Kernel]: [NewKernel] is the machine's, modloadtest.Kernel one for tests. [Depmod] writes the indexes,
// and [OpenModule] reads what a module's file says of itself.
//
// Module names are spelled with underscores, whatever was asked with. Paths are the machine's own; Options.SystemRoot
// moves all of them for a test. Nothing is logged but to a logger that was handed over, and what blocks takes a context.
package modload
