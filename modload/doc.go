// Package modload knows where kernel modules live, which of them an alias asks for, and how they get into the kernel.
//
// A [Config] is resolved once and never changes; everything else in the package is handed it. An [Index] is one whole
// generation of a tree's indexes: aliases, dependencies, soft dependencies, built-ins. A [Loader] loads.
package modload
