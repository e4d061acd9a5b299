#include "scheduling/response_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <thread>
#include <vector>

namespace fastserve {
namespace {

TEST(ResponseOrder, RespondsInTheOrderOfTickets) {
  ResponseOrder order;
  std::vector<int> sent;
  order.Finish(2, [&] { sent.push_back(2); });
  order.Finish(1, [&] { sent.push_back(1); });
  EXPECT_TRUE(sent.empty());
  order.Finish(0, [&] { sent.push_back(0); });
  EXPECT_EQ(sent, (std::vector<int>{0, 1, 2}));
  order.Finish(3, [&] { sent.push_back(3); });
  EXPECT_EQ(sent.back(), 3);
}

TEST(ResponseOrder, AResponseMayFinishTheNextTicket) {
  ResponseOrder order;
  std::vector<int> sent;
  order.Finish(0, [&] {
    order.Finish(1, [&] { sent.push_back(1); });
    sent.push_back(0);
  });
  EXPECT_EQ(sent, (std::vector<int>{0, 1}));
}

TEST(ResponseOrder, ManyThreadsSendOneAfterTheOther) {
  constexpr int kThreads = 4;
  constexpr int kEach = 2000;
  ResponseOrder order;
  std::vector<int> sent;  // unguarded on purpose: responses never overlap
  std::vector<int> tickets(kThreads * kEach);
  for (std::size_t i = 0; i < tickets.size(); ++i) tickets[i] = static_cast<int>(i);
  std::shuffle(tickets.begin(), tickets.end(), std::mt19937(5));
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        const int place = t * kEach + i;
        const int ticket = tickets[static_cast<std::size_t>(place)];
        order.Finish(static_cast<std::uint64_t>(ticket), [&, ticket] { sent.push_back(ticket); });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_EQ(sent.size(), tickets.size());
  EXPECT_TRUE(std::is_sorted(sent.begin(), sent.end()));
}

}  // namespace
}  // namespace fastserve
