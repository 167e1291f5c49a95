// Command zip writes files to an archive, under their base names and with the time
// of SOURCE_DATE_EPOCH: zip OUT.zip FILE... The Makefile packs the program for
// Windows with it.
package main

import (
	"archive/zip"
	"io"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("usage: zip OUT.zip FILE...")
	}
	epoch, _ := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	out, err := os.Create(os.Args[1])
	check(err)
	w := zip.NewWriter(out)
	for _, name := range os.Args[2:] {
		in, err := os.Open(name)
		check(err)
		f, err := w.CreateHeader(&zip.FileHeader{Name: filepath.Base(name), Method: zip.Deflate, Modified: time.Unix(max(epoch, 315532800), 0).UTC()})
		check(err)
		_, err = io.Copy(f, in)
		check(err)
		check(in.Close())
	}
	check(w.Close())
	check(out.Close())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
