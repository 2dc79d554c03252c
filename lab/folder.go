// Datastore files over HTTPS (/folder), behind the login that a real vCenter asks for: the session
// cookie of the SOAP session, or basic authentication.
package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

const currentTimeCall = `<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body><CurrentTime xmlns="urn:vim25"><_this type="ServiceInstance">ServiceInstance</_this></CurrentTime></soapenv:Body></soapenv:Envelope>`

// serveFolder registers the datastore browser; method patterns win over the simulator's own.
func (s *site) serveFolder() {
	for method, handler := range map[string]http.HandlerFunc{
		http.MethodGet: s.download, http.MethodPut: s.upload, http.MethodPost: s.upload, http.MethodDelete: s.deleteUploaded,
	} {
		s.service.ServeMux.HandleFunc(method+" /folder/", func(w http.ResponseWriter, r *http.Request) {
			if !s.loggedIn(r) {
				w.Header().Set("WWW-Authenticate", `Basic realm="vCenter"`)
				http.Error(w, "Log in first", http.StatusUnauthorized)
				return
			}
			handler(w, r)
		})
	}
}

// loggedIn asks the simulator itself whether the session lives, so that log-out and expiry count.
func (s *site) loggedIn(r *http.Request) bool {
	if user, password, ok := r.BasicAuth(); ok {
		return user == s.User && password == s.Password
	}
	cookie, err := r.Cookie(soap.SessionCookieName)
	if err != nil {
		return false
	}
	question := httptest.NewRequest(http.MethodPost, "/sdk", strings.NewReader(currentTimeCall))
	question.AddCookie(&http.Cookie{Name: cookie.Name, Value: strings.Trim(cookie.Value, `"`)})
	answer := httptest.NewRecorder()
	s.service.ServeSDK(answer, question)
	return answer.Code == http.StatusOK
}

// requested finds the file that a request is about.
func (s *site) requested(w http.ResponseWriter, r *http.Request) (file, datastore string, ok bool) {
	query := r.URL.Query()
	datastore = query.Get("dsName")
	inside := strings.TrimPrefix(query.Get("dcPath"), "/")
	if !slices.Contains(datastoreNames, datastore) || (inside != "" && inside != s.Title+"-DC") {
		http.Error(w, "No such datacenter or datastore", http.StatusNotFound)
		return "", "", false
	}
	name := path.Clean("/" + strings.TrimPrefix(r.URL.Path, "/folder/"))
	return filepath.Join(s.Home, "datastores", datastore, name), datastore, true
}

func (s *site) download(w http.ResponseWriter, r *http.Request) {
	name, _, ok := s.requested(w, r)
	if !ok {
		return
	}
	file, err := os.Open(name)
	if err != nil {
		http.Error(w, "No such file", http.StatusNotFound)
		return
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		http.Error(w, "No such file", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", info.ModTime(), file)
}

func (s *site) upload(w http.ResponseWriter, r *http.Request) {
	name, datastore, ok := s.requested(w, r)
	if !ok {
		return
	}
	status, text := s.mayUpload(name, datastore, r)
	if status != 0 {
		http.Error(w, text, status)
		return
	}
	_, statError := os.Stat(name)
	file, err := os.Create(name)
	if err != nil {
		http.Error(w, "Cannot write the file", http.StatusInternalServerError)
		return
	}
	written, err := io.Copy(file, r.Body)
	if closeError := file.Close(); err == nil {
		err = closeError
	}
	if err != nil || (r.ContentLength >= 0 && written != r.ContentLength) {
		http.Error(w, "The upload broke off", http.StatusInternalServerError)
		return
	}
	s.refreshDatastores(s.newContext())
	if os.IsNotExist(statError) {
		w.WriteHeader(http.StatusCreated)
	}
}

// mayUpload gives the status and text of a refusal, or 0.
func (s *site) mayUpload(name, datastore string, r *http.Request) (int, string) {
	if parent, err := os.Stat(filepath.Dir(name)); err != nil || !parent.IsDir() {
		return http.StatusNotFound, "The folder does not exist"
	}
	if info, err := os.Stat(name); err == nil && (info.IsDir() || r.Method == http.MethodPost) {
		return http.StatusConflict, "The file exists already"
	}
	if s.openFile(name) {
		return http.StatusForbidden, "The file is locked by a powered-on virtual machine"
	}
	if free := s.freeBytes(datastore); free < freeBytesMin || r.ContentLength > free {
		return http.StatusInsufficientStorage, "Insufficient disk space on datastore '" + datastore + "'"
	}
	return 0, ""
}

func (s *site) deleteUploaded(w http.ResponseWriter, r *http.Request) {
	name, datastore, ok := s.requested(w, r)
	if !ok {
		return
	}
	relative, _ := filepath.Rel(filepath.Join(s.Home, "datastores", datastore), name)
	err := s.deleteFile(s.newContext(), "["+datastore+"] "+relative)
	switch err := err.(type) {
	case nil:
		w.WriteHeader(http.StatusNoContent)
	case *faultError:
		status := http.StatusForbidden
		if _, missing := err.fault.(*types.FileNotFound); missing {
			status = http.StatusNotFound
		}
		http.Error(w, err.text, status)
	default:
		http.Error(w, "Cannot delete the file", http.StatusInternalServerError)
	}
}
