// Package folder locks folders that one process writes at a time, and makes what is in them
// survive a crash.
package folder
