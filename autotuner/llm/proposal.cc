#include "autotuner/llm/proposal.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

namespace attune {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kLongestShown = 40;

std::string shown(const Json& json) {
  std::string text = json.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > kLongestShown) text = text.substr(0, kLongestShown) + "...";
  return text;
}

std::optional<std::size_t> axis_named(const Space& space, const std::string& name) {
  for (std::size_t axis = 0; axis < space.axes().size(); ++axis) {
    if (space.axes()[axis].name == name) return axis;
  }
  return std::nullopt;
}

// A number, also one in a string, as models write them.
std::optional<double> number_in(const Json& json) {
  if (json.is_number()) return json.get<double>();
  if (!json.is_string()) return std::nullopt;
  const std::string text = json.get<std::string>();
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0') return std::nullopt;
  return value;
}

struct ReadValue {
  std::int16_t index = 0;
  std::string remark;  // "" when it is a value of the axis as it stands
};

std::optional<ReadValue> read_value(const Axis& axis, const Json& json) {
  std::vector<std::string> words;
  for (std::size_t i = 0; i < axis.values.size(); ++i) {
    const auto index = static_cast<std::int16_t>(i);
    words.push_back(to_string(axis.values[i]));
    if (to_json(axis.values[i]) == json || (json.is_string() && json.get<std::string>() == words.back()))
      return ReadValue{index, ""};
  }
  const auto number = number_in(json);
  if (!number || !std::holds_alternative<std::int64_t>(axis.values[0])) return std::nullopt;
  ReadValue nearest;
  double least = 0;
  for (std::size_t i = 0; i < axis.values.size(); ++i) {
    const double distance = std::abs(static_cast<double>(std::get<std::int64_t>(axis.values[i])) - *number);
    if (i > 0 && distance >= least) continue;
    least = distance;
    nearest.index = static_cast<std::int16_t>(i);
  }
  if (least > 0) {
    nearest.remark = fmt::format("{} has no value {}, only {}: took {}", axis.name, shown(json),
                                 fmt::join(words, ", "), words[static_cast<std::size_t>(nearest.index)]);
  }
  return nearest;
}

bool all_axis_names(const Json& object, const Space& space) {
  if (!object.is_object() || object.empty()) return false;
  for (const auto& [key, value] : object.items()) {
    if (!axis_named(space, key)) return false;
  }
  return true;
}

// The proposal's parts, whichever form it has.
struct Parts {
  Json set = Json::object();         // by axis name
  std::optional<Point> whole;        // of a whole config
  std::optional<std::int64_t> base;  // a trial's number
};

Parts parts_of(const Json& item, const Space& space) {
  Parts parts;
  if (item.contains("base") && item["base"].is_number_integer()) parts.base = item["base"];
  Json body = item;
  for (const char* key : {"base", "why", "reason", "expect"}) body.erase(key);
  for (const char* key : {"set", "config", "changes"}) {
    if (item.contains(key) && item[key].is_object()) body = item[key];
  }
  if (!all_axis_names(body, space)) {
    if (const auto config = config_from_json(body, space.definition())) {
      if (auto point = space.point(*config)) parts.whole = *point;
      return parts;
    }
  }
  parts.set = std::move(body);
  return parts;
}

void add_remark(std::string& remarks, const std::string& remark) {
  if (!remark.empty()) remarks += (remarks.empty() ? "" : "; ") + remark;
}

struct Change {
  std::size_t axis;
  std::int16_t index;
  int cost;
};

// Every single change, cheapest first.
std::vector<Change> changes_of(const Space& space, const Point& point, const std::vector<std::size_t>& kept) {
  constexpr int kKeptCost = 100;
  std::vector<Change> changes;
  for (std::size_t axis = 0; axis < point.size(); ++axis) {
    if (point[axis] == kInactive) continue;
    const bool keep = std::find(kept.begin(), kept.end(), axis) != kept.end();
    for (std::size_t i = 0; i < space.axes()[axis].values.size(); ++i) {
      const auto index = static_cast<std::int16_t>(i);
      if (index == point[axis]) continue;
      changes.push_back({axis, index, std::abs(index - point[axis]) + (keep ? kKeptCost : 0)});
    }
  }
  std::stable_sort(changes.begin(), changes.end(),
                   [](const Change& a, const Change& b) { return a.cost < b.cost; });
  return changes;
}

// What a repair changed, as "block_n 64 -> 32".
std::string difference(const Space& space, const Point& from, const Point& to) {
  std::string text;
  for (std::size_t axis = 0; axis < from.size(); ++axis) {
    if (from[axis] == to[axis] || from[axis] == kInactive || to[axis] == kInactive) continue;
    const auto& values = space.axes()[axis].values;
    add_remark(text, fmt::format("{} {} -> {}", space.axes()[axis].name,
                                 to_string(values[static_cast<std::size_t>(from[axis])]),
                                 to_string(values[static_cast<std::size_t>(to[axis])])));
  }
  return text;
}

}  // namespace

std::optional<Point> nearest_legal(const Space& space, const Point& point,
                                   const std::vector<std::size_t>& kept) {
  constexpr std::size_t kMostPairs = 5000;  // tried, a few microseconds each
  const std::vector<Change> changes = changes_of(space, point, kept);
  const auto changed = [&](const Point& from, const Change& change) {
    Point to = from;
    to[change.axis] = change.index;
    return space.normalized(std::move(to));
  };
  for (const Change& change : changes) {
    if (Point single = changed(point, change); space.contains(single)) return single;
  }
  std::optional<Point> best;
  int best_cost = 0;
  std::size_t tried = 0;
  for (std::size_t i = 0; i < changes.size(); ++i) {
    for (std::size_t j = i + 1; j < changes.size(); ++j) {
      const int cost = changes[i].cost + changes[j].cost;
      if (changes[i].axis == changes[j].axis || (best && cost >= best_cost)) continue;
      if (++tried > kMostPairs) return best;
      Point pair = changed(changed(point, changes[i]), changes[j]);
      if (!space.contains(pair)) continue;
      best = std::move(pair);
      best_cost = cost;
    }
  }
  return best;
}

ReadProposal read_proposal(const Json& item, const Space& space, const TrialPoints& trials,
                           const Point& fallback) {
  ReadProposal read;
  if (!item.is_object()) return {.point = {}, .repaired = false, .remark = "not a JSON object"};
  const Parts parts = parts_of(item, space);
  if (parts.whole) return {.point = parts.whole, .repaired = false, .remark = ""};
  Point point = fallback;
  if (parts.base) {
    if (const Point* base = trials(*parts.base)) {
      point = *base;
    } else {
      add_remark(read.remark, fmt::format("there is no trial #{}: took the best", *parts.base));
    }
  }
  std::vector<std::size_t> kept;
  for (const auto& [name, value] : parts.set.items()) {
    const auto axis = axis_named(space, name);
    if (!axis) {
      add_remark(read.remark, fmt::format("there is no axis '{}'", name.substr(0, kLongestShown)));
      continue;
    }
    const auto read_one = read_value(space.axes()[*axis], value);
    if (!read_one) {
      add_remark(read.remark, fmt::format("{} cannot be {}", name, shown(value)));
      continue;
    }
    point[*axis] = read_one->index;
    add_remark(read.remark, read_one->remark);
    kept.push_back(*axis);
  }
  if (kept.empty()) {
    read.remark = "no change that the space knows" + (read.remark.empty() ? "" : ": " + read.remark);
    return read;
  }
  point = space.normalized(std::move(point));
  read.repaired = !read.remark.empty();
  if (space.contains(point)) {
    read.point = std::move(point);
    return read;
  }
  add_remark(read.remark, space.check(point).error().message);
  if (auto legal = nearest_legal(space, point, kept)) {
    add_remark(read.remark, "changed " + difference(space, point, *legal));
    read.repaired = true;
    read.point = std::move(legal);
  }
  return read;
}

}  // namespace attune
