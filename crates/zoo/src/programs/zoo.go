// client URL BYTES STREAMS FILE: fetches URL/bytes/BYTES several times at once, then puts the file to URL/upload;
// prints the SHA-256 of each answer's body, and the last answer.
//
// server PORT FILE: GET gives the file, PUT takes anything and answers with its SHA-256.
package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
)

func hash(from io.Reader) (string, error) {
	digest := sha256.New()
	_, err := io.Copy(digest, from)
	return fmt.Sprintf("%x", digest.Sum(nil)), err
}

func get(url string) (string, error) {
	answer, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	return hash(answer.Body)
}

func put(url, file string) (string, error) {
	opened, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer opened.Close()
	request, err := http.NewRequest("PUT", url, opened)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return string(text), err
}

func client(url, bytes string, streams int, file string) {
	type result struct {
		digest string
		err    error
	}
	results := make(chan result)
	for n := 0; n < streams; n++ {
		go func() {
			digest, err := get(url + "/bytes/" + bytes)
			results <- result{digest, err}
		}()
	}
	for n := 0; n < streams; n++ {
		got := <-results
		if got.err != nil {
			log.Fatal(got.err)
		}
		fmt.Println(got.digest)
	}
	text, err := put(url+"/upload", file)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(text)
}

func server(port, file string) {
	handle := func(answer http.ResponseWriter, request *http.Request) {
		if request.Method == "GET" {
			http.ServeFile(answer, request, file)
			return
		}
		digest, err := hash(request.Body)
		if err != nil {
			http.Error(answer, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintln(answer, digest)
	}
	log.Fatal(http.ListenAndServe("0.0.0.0:"+port, http.HandlerFunc(handle)))
}

func main() {
	switch arguments := os.Args[1:]; {
	case len(arguments) == 5 && arguments[0] == "client":
		streams, err := strconv.Atoi(arguments[3])
		if err != nil {
			log.Fatal(err)
		}
		client(arguments[1], arguments[2], streams, arguments[4])
	case len(arguments) == 3 && arguments[0] == "server":
		server(arguments[1], arguments[2])
	default:
		log.Fatal("client URL BYTES STREAMS FILE, or server PORT FILE")
	}
}
