// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_SHARED_LIST_H_
#define MSEG_LABELS_SHARED_LIST_H_

#include <algorithm>
#include <compare>
#include <cstddef>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

namespace mseg {

// A list that does not change, in pieces: copies of it share all of them, and one with a few other
// elements shares those pieces that have none. Safe to read from several threads.
template <typename T>
class SharedList {
 public:
  class Iterator {
   public:
    using iterator_category = std::random_access_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;
    using pointer = const T*;
    using reference = const T&;

    Iterator() = default;
    Iterator(const SharedList* list, difference_type at) : list_(list), at_(at) {}
    reference operator*() const { return (*list_)[static_cast<size_t>(at_)]; }
    pointer operator->() const { return &**this; }
    reference operator[](difference_type n) const { return *(*this + n); }
    Iterator& operator+=(difference_type n) {
      at_ += n;
      return *this;
    }
    Iterator& operator-=(difference_type n) { return *this += -n; }
    Iterator& operator++() { return *this += 1; }
    Iterator& operator--() { return *this += -1; }
    Iterator operator++(int) { return std::exchange(*this, *this + 1); }
    Iterator operator--(int) { return std::exchange(*this, *this - 1); }
    friend Iterator operator+(Iterator it, difference_type n) { return it += n; }
    friend Iterator operator+(difference_type n, Iterator it) { return it += n; }
    friend Iterator operator-(Iterator it, difference_type n) { return it -= n; }
    friend difference_type operator-(const Iterator& a, const Iterator& b) { return a.at_ - b.at_; }
    bool operator==(const Iterator& other) const { return at_ == other.at_; }
    auto operator<=>(const Iterator& other) const { return at_ <=> other.at_; }

   private:
    const SharedList* list_ = nullptr;
    difference_type at_ = 0;
  };

  SharedList() = default;
  explicit SharedList(const std::vector<T>& values) {
    for (auto at = values.begin(); at != values.end();) {
      const auto left = static_cast<size_t>(values.end() - at);
      const auto end = at + static_cast<std::ptrdiff_t>(std::min(kPiece, left));
      pieces_.push_back(std::make_shared<const Piece>(at, end));
      at = end;
    }
  }

  size_t size() const {
    return empty() ? 0 : (pieces_.size() - 1) * kPiece + pieces_.back()->size();
  }
  bool empty() const { return pieces_.empty(); }
  const T& operator[](size_t place) const { return (*pieces_[place / kPiece])[place % kPiece]; }
  Iterator begin() const { return Iterator(this, 0); }
  Iterator end() const { return Iterator(this, static_cast<std::ptrdiff_t>(size())); }

  // The same but for some places, which must be sorted and in the list.
  SharedList Replaced(const std::vector<std::pair<size_t, T>>& changes) const {
    SharedList out = *this;
    for (auto at = changes.begin(); at != changes.end();) {
      const size_t number = at->first / kPiece;
      Piece piece = *pieces_[number];
      for (; at != changes.end() && at->first / kPiece == number; ++at) {
        piece[at->first % kPiece] = at->second;
      }
      out.pieces_[number] = std::make_shared<const Piece>(std::move(piece));
    }
    return out;
  }

  bool operator==(const SharedList& other) const {
    return std::equal(pieces_.begin(), pieces_.end(), other.pieces_.begin(), other.pieces_.end(),
                      [](const auto& a, const auto& b) { return a == b || *a == *b; });
  }

 private:
  static constexpr size_t kPiece = 1024;
  using Piece = std::vector<T>;

  std::vector<std::shared_ptr<const Piece>> pieces_;  // full ones, but for the last
};

}  // namespace mseg

#endif  // MSEG_LABELS_SHARED_LIST_H_
